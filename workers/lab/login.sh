#!/usr/bin/bash
# Brings up the guest's network and its SSH server, and stays until somebody writes to /run/kitten-over. TAP on standard output.
set -u
here=/kitten/login
PATH=$PATH:/kitten/bin # busybox, where the system has none

card() {
    for card in /sys/class/net/*; do
        card=${card##*/}
        [ "$card" != lo ] && [ -e "/sys/class/net/$card" ] && return
    done
    return 1
}
network() {
    busybox ip link set lo up || return
    card || while read -r module; do
        busybox insmod "/kitten/modules/$module" || return
    done <$here/modules
    card || { echo "# no network card"; return 1; }
    case $(busybox ip -4 addr show dev "$card") in
        *" inet "*) return ;; # the system sees to it itself
    esac
    # The address to which QEMU's user network forwards.
    busybox ip addr add 10.0.2.15/24 dev "$card" && busybox ip link set "$card" up
}
server() {
    mkdir -p /dev/pts /run/sshd /var/empty
    grep -q ' /dev/pts ' /proc/mounts || mount -t devpts devpts /dev/pts || busybox mount -t devpts devpts /dev/pts || return
    grep -q '^sshd:' /etc/passwd || echo 'sshd:x:74:74:Privilege-separated SSH:/var/empty:/usr/sbin/nologin' >>/etc/passwd
    chmod 600 $here/host_key
    for tool in rsync flock dnf; do
        [ -e "/usr/bin/$tool" ] || [ ! -e "$here/$tool" ] || ln -s "$here/$tool" "/usr/bin/$tool"
    done
    "$here/sshd" -D -e -f $here/sshd_config &
    pid=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        { exec 4<>/dev/tcp/127.0.0.1/2222; } 2>/dev/null && read -r -t 60 -u 4 banner && break
        sleep 0.5
    done
    exec 4>&-
    case ${banner-} in
        SSH-2.0-*) return ;;
    esac
    echo "# no SSH server answers"
    return 1
}
point() { # point NUMBER NAME COMMAND: one line of TAP
    if "$3"; then echo "ok $1 - $2"; else echo "not ok $1 - $2"; fi
}

echo 1..3
point 1 "the network is up" network
mkfifo /run/kitten-over
point 2 "an SSH server answers" server
over() { read -r _ </run/kitten-over && kill "$pid"; }
point 3 "the host ended the session" over
