# shellcheck shell=bash
# A guest's test: starts the QEMU under test, with a SPICE server that the host reaches over the guest's network.
# Monitor, console and report of the inner guest go through three virtio ports. The host replaces the words in capitals.
echo 1..2
# shellcheck disable=SC2043
for module in MODULES; do
    insmod "/kitten/modules/$module.ko" || echo "# $module does not load"
done
for candidate in /sys/class/virtio-ports/*; do
    name=$(cat "$candidate/name")
    case $name in inside-*) ln -s "/dev/${candidate##*/}" "/run/$name" ;; esac
done
# busybox has this applet, but the guest installs no link for it: tests of packages must not depend on it.
if busybox ifconfig lo 127.0.0.1 up && busybox ifconfig eth0 ADDRESS netmask 255.255.255.0 up; then
    echo "ok 1 - the guest has a network"
else
    echo "not ok 1 - the guest has a network"
    exit 1
fi
COMMAND </dev/null
status=$?
[ "$status" = 0 ] || printf 'not '
echo "ok 2 - QEMU runs to its end"
exit "$status"
