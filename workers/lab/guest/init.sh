#!/usr/bin/busybox sh
# shellcheck shell=dash
# First and only process of a test guest; in a guest of a cloud image, a service (seed.py). It says that it is ready and waits to be told who it is; then it unpacks what it
# was given, runs the scripts below /kitten/tests and reports them as TAP on the virtio port. Between "ready" and "go" its
# state may be saved, and brought back any number of times: nothing before "go" may be a secret or unique.
export PATH=/usr/bin:/usr/sbin HOME=/root TMPDIR=/tmp

if [ $$ -eq 1 ]; then
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs -o size=16m tmpfs /run # its own: the state of a test is kept there, even when it fills everything else
    ln -s /proc/self/fd /dev/fd 2>/dev/null
fi

broken() {
    echo "kitten: $*" >/dev/console
    poweroff -f
}

while read -r module; do
    insmod "/kitten/modules/$module.ko" || echo "kitten: kernel module $module does not load" >/dev/console
done </kitten/modules/order

# No udev here: the port is found by the name QEMU gave it. It may take a moment to appear.
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

# From here on the console tells of every program that dies of a signal.
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
# What the kernel has read of it, looking for partitions, would be another test's when the state is brought back.
[ -z "$drive" ] || blockdev --flushbufs "$drive"
kernel="$(uname -r) on $(uname -m)"

# Whatever comes after this line is done anew for each test: the fewer programs, the sooner it begins.
read -r up _ </proc/uptime
report "# READY $up"
# The words of the host: go SEED SECONDS-SINCE-1970 NAME
while :; do
    read -r word seed now name <&3 || { sleep 0.02; continue; }
    [ "$word" = go ] && break
done
report "# GO"
# A restored guest has the clock and the random state of every other (renew-*.s).
/kitten/bin/renew <<EOF || broken "the guest's clock or random numbers could not be set anew"
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
