#!/usr/bin/busybox sh
# shellcheck shell=dash
# First and only process of a test guest: runs the scripts below /kitten/tests and reports them as TAP on the virtio port.
export PATH=/usr/bin:/usr/sbin HOME=/root TMPDIR=/tmp

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
ln -s /proc/self/fd /dev/fd 2>/dev/null

while read -r module; do
    insmod "/kitten/modules/$module.ko" || echo "kitten: kernel module $module does not load" >/dev/console
done </kitten/modules/order

# No udev here: the port is found by the name QEMU gave it. It may take a moment to appear.
port=
tries=0
while [ -z "$port" ] && [ "$tries" -lt 100 ]; do
    for candidate in /sys/class/virtio-ports/*; do
        [ -e "$candidate/name" ] && [ "$(cat "$candidate/name")" = PORT_NAME ] && port=/dev/${candidate##*/}
    done
    [ -n "$port" ] || sleep 0.1
    tries=$((tries + 1))
done
if [ -z "$port" ]; then
    echo "kitten: no virtio port named PORT_NAME" >/dev/console
    poweroff -f
fi
exec 3>"$port"

# From here on the console tells of every program that dies of a signal.
for switch in /proc/sys/debug/exception-trace /proc/sys/kernel/userprocess_debug; do
    [ -e "$switch" ] && echo 1 >"$switch"
done
echo 7 >/proc/sys/kernel/printk

report() { printf '%s\n' "$*" >&3; }

set -- /kitten/tests/*.sh
[ -e "$1" ] || set --
report "TAP version 14"
report "# kernel $(uname -r) on $(uname -m), up $(cut -d' ' -f1 /proc/uptime) s"
report "1..$#"
number=0
for test; do
    number=$((number + 1))
    name=${test##*/}
    report "# Subtest: $name"
    {
        cd /kitten/tests && /usr/bin/bash "$test" 3>&- 2>&1 </dev/null
        echo $? >/run/status
    } | while IFS= read -r line || [ -n "$line" ]; do printf '    %s\n' "$line" >&3; done
    status=$(cat /run/status)
    if [ "$status" = 0 ]; then
        report "ok $number - $name"
    else
        report "not ok $number - $name"
        report "# exit status $status"
    fi
done
report "# END"
poweroff -f
