#!/usr/bin/busybox sh
# shellcheck shell=dash
# The init process of a test guest; in a guest of a cloud image, a service (seed.py). It reports "ready" on the virtio
# port and waits for "go" with a name. Then it unpacks the payload, runs the scripts in /kitten/tests and reports them
# as TAP. Between "ready" and "go" the state may be saved, and restored any number of times. So nothing before "go" may
# be secret or unique.
export PATH=/usr/bin:/usr/sbin HOME=/root TMPDIR=/tmp

if [ $$ -eq 1 ]; then
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs -o size=16m tmpfs /run # a separate one, so that the status of a test has room if / is full
    ln -s /proc/self/fd /dev/fd 2>/dev/null
fi

broken() {
    echo "kitten: $*" >/dev/console
    poweroff -f
}

while read -r module; do
    insmod "/kitten/modules/$module.ko" || echo "kitten: kernel module $module does not load" >/dev/console
done </kitten/modules/order

# Without udev the port is found by the name that QEMU gave it. It may take a moment to appear.
port=
tries=0
while [ -z "$port" ] && [ "$tries" -lt 100 ]; do
    for candidate in /sys/class/virtio-ports/*; do
        [ -e "$candidate/name" ] && [ "$(cat "$candidate/name")" = TAP_PORT ] && port=/dev/${candidate##*/}
    done
    [ -n "$port" ] || sleep 0.1
    tries=$((tries + 1))
done
[ -n "$port" ] || broken "no virtio port named TAP_PORT"
exec 3<>"$port"

# From here on the console shows every program that dies of a signal.
for switch in /proc/sys/debug/exception-trace /proc/sys/kernel/userprocess_debug; do
    [ -e "$switch" ] && echo 1 >"$switch"
done
echo '|/kitten/core %e %s %p' >/proc/sys/kernel/core_pattern
echo 7 >/proc/sys/kernel/printk

report() { printf '%s\n' "$*" >&3; }

drive=
for candidate in /sys/block/*; do
    [ "$(cat "$candidate/serial" 2>/dev/null)" = payload ] && drive=/dev/${candidate##*/}
done
# The kernel has read blocks of it to find partitions. In a restored guest these blocks would be from another test.
[ -z "$drive" ] || blockdev --flushbufs "$drive"
kernel="$(uname -r) on $(uname -m)"

# Each test repeats everything after this line. The fewer programs start, the sooner the test begins.
read -r up _ </proc/uptime
report "# READY $up"
# The host sends: go SEED SECONDS-SINCE-1970 NAME
while :; do
    read -r word seed now name <&3 || { sleep 0.02; continue; }
    [ "$word" = go ] && break
done
report "# GO"
# Without this all restored guests would have the same clock and the same random numbers (renew-*.s).
/kitten/bin/renew <<EOF || broken "the guest's clock or random numbers could not be set"
$seed $now
EOF
echo "$name" >/proc/sys/kernel/hostname
printf '%.32s\n' "$seed" >/etc/machine-id

if [ -n "$drive" ]; then
    cd /
    cpio -i -d -m -u <"$drive" 2>/run/unpack || broken "the payload does not unpack: $(tail -n 1 /run/unpack)"
fi

set -- /kitten/tests/*.sh
[ -e "$1" ] || set --
report "TAP version 14"
report "# kernel $kernel, up $up s when it was ready"
report "1..$#"
number=0
for test; do
    number=$((number + 1))
    name=${test##*/}
    report "# Subtest: $name"
    echo "<5>lab: begin $name" >/dev/kmsg
    read -r begun _ </proc/uptime
    {
        cd /kitten/tests && /usr/bin/bash "$test" 3>&- 2>&1 </dev/null
        echo $? >/run/status
    } | while IFS= read -r line || [ -n "$line" ]; do
        printf '    %s\n' "$line" >&3
        case $line in
            "ok "* | "not ok "*) read -r now _ </proc/uptime && printf '    # at %s\n' "$now" >&3 ;;
        esac
    done
    status=$(cat /run/status)
    read -r ended _ </proc/uptime
    if [ "$status" = 0 ]; then
        report "ok $number - $name"
    else
        report "not ok $number - $name"
        report "# exit status $status"
    fi
    report "# from $begun to $ended"
done
report "# END"
poweroff -f
