# shellcheck shell=bash
# A guest's test: starts the QEMU under test, with a SPICE server that the host reaches over the guest's network. Monitor,
# console and report of the guest inside go through three virtio ports. The host fills in what is in capitals.
echo 1..2
for module in MODULES; do
    insmod "/kitten/modules/$module.ko" || echo "# $module does not load"
done
for candidate in /sys/class/virtio-ports/*; do
    name=$(cat "$candidate/name")
    case $name in inside-*) ln -s "/dev/${candidate##*/}" "/run/$name" ;; esac
done
# EL's and Debian's busybox alike know it; it is no applet of the guest's, so that no package's test counts on it.
busybox ifconfig lo 127.0.0.1 up && busybox ifconfig eth0 ADDRESS netmask 255.255.255.0 up &&
    echo "ok 1 - the guest has a network" || { echo "not ok 1 - the guest has a network"; exit 1; }
COMMAND </dev/null && echo "ok 2 - QEMU runs to its end" || { echo "not ok 2 - QEMU runs to its end"; exit 1; }
