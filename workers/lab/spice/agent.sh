# shellcheck shell=bash
# A guest's test: answers as the SPICE agent does. It announces the capabilities of a client back, the words in reverse
# order. An announcement that requests no answer ends the test. Layout of the bytes: spice/vd_agent.h. The host replaces
# the words in capitals.
echo 1..1
port=
for candidate in /sys/class/virtio-ports/*; do
    [ "$(cat "$candidate/name" 2>/dev/null)" = AGENT_PORT ] && port=/dev/${candidate##*/}
done
[ -n "$port" ] || { echo "not ok 1 - a client speaks to the agent"; echo "# no port AGENT_PORT"; exit 1; }
exec 4<>"$port"

# Reads a number of bytes from the port, and prints them in hexadecimal. Without a client, a read finds the end of the
# file.
bytes() {
    local found=
    until [ -n "$found" ] || [ "$1" = 0 ]; do
        found=$(dd bs=1 count="$1" <&4 2>/dev/null | xxd -p | tr -d '\n')
        [ -n "$found" ] || sleep 0.05
    done
    echo "$found"
}
number() { echo $((16#${1:6:2}${1:4:2}${1:2:2}${1:0:2})); }

while :; do
    head=$(bytes 8)
    body=$(bytes "$(number "${head:8:8}")")
    # Only messages of a client (1) with capabilities (6); not the messages of the server to its agent.
    if [ "$(number "$head")" != 1 ] || [ "$(number "${body:8:8}")" != 6 ]; then continue; fi
    words=${body:48}
    echo "# words $words"
    [ "$(number "${body:40:8}")" = 1 ] || break
    answer=
    while [ -n "$words" ]; do
        answer=${words:0:8}$answer
        words=${words:8}
    done
    size=$(printf '%02x000000' $((4 + ${#answer} / 2)))
    total=$(printf '%02x000000' $((24 + ${#answer} / 2)))
    # port, bytes; protocol, type, opaque, bytes; no request, words
    answer=01000000${total}01000000060000000000000000000000${size}00000000$answer
    # shellcheck disable=SC2059
    printf "$(printf %s "$answer" | sed 's/../\\x&/g')" >&4
done
echo "ok 1 - a client speaks to the agent"
