# shellcheck shell=bash
# A guest's test: draws the pattern of pattern.py on its screen, and some text below it. The host replaces the words in
# capitals.
echo 1..2
# shellcheck disable=SC2043
for module in MODULES; do
    insmod "/kitten/modules/$module.ko" || echo "# $module does not load"
done
tries=0
until [ -e /dev/fb0 ] || [ "$tries" -ge 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
[ -e /dev/fb0 ] || { echo "not ok 1 - the display has a frame buffer"; echo "not ok 2 - the pattern is drawn"; exit 1; }
fb=/sys/class/graphics/fb0
IFS=, read -r width height <$fb/virtual_size
read -r stride <$fb/stride
read -r depth <$fb/bits_per_pixel
read -r driver <$fb/name
[ "$depth" = 32 ] || { echo "not ok 1 - the display has a frame buffer of 32 bits a pixel, not $depth"; exit 1; }
echo "ok 1 - the display has a frame buffer"
echo "# screen $width $height $driver"

# Prints one line of pixels: the colours RRGGBB side by side, each a whole number of pixels wide.
line() {
    local colour each=$((width / $#)) count
    count=$(seq "$each")
    for colour; do
        # shellcheck disable=SC2086,SC2059 # one pixel a number: blue, green, red, unused
        printf "\\x${colour:4:2}\\x${colour:2:2}\\x${colour:0:2}\\x00%.0s" $count
    done
    head -c $((stride - each * $# * 4)) /dev/zero
}
# Prints that line several times.
block() {
    local lines=$1
    shift
    line "$@" >/tmp/block
    while [ "$(stat -c %s /tmp/block)" -lt $((stride * lines)) ]; do
        cat /tmp/block /tmp/block >/tmp/twice && mv /tmp/twice /tmp/block
    done
    head -c $((stride * lines)) /tmp/block
}

rows=$((height / 16))
printf '\033[?25l\033[2J\033[%d;1H' $((rows * 5 / 16 + 3)) >/dev/tty1 # no cursor, all clear, below the pattern
printf '  %s\r\n' WORDS "Linux $(uname -r), $driver, $width x $height" >/dev/tty1
# shellcheck disable=SC2046
{ block $((height / 4)) BARS && block $((height / 16)) SQUARES; } >/tmp/pattern &&
    cat /tmp/pattern >/dev/fb0 && echo "ok 2 - the pattern is drawn" || echo "not ok 2 - the pattern is drawn"
