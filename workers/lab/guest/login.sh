#!/usr/bin/bash
# Runs an SSH server on a virtio port, one connection after the other, until a write to OVER. Prints TAP.
set -u
here=/kitten/login

point() { # point NUMBER NAME COMMAND: prints one test point
    if "$3"; then echo "ok $1 - $2"; else echo "not ok $1 - $2"; fi
}
prepare() {
    for candidate in /sys/class/virtio-ports/*; do
        [ "$(cat "$candidate/name" 2>/dev/null)" = LOGIN_PORT ] && port=/dev/${candidate##*/}
    done
    [ -n "${port-}" ] || { echo "# no virtio port named LOGIN_PORT"; return 1; }
    mkdir -p /dev/pts /run/sshd /var/empty || return
    grep -q ' /dev/pts ' /proc/mounts || mount -t devpts devpts /dev/pts || return
    grep -q '^sshd:' /etc/passwd || echo sshd:x:74:74:sshd:/var/empty:/usr/sbin/nologin >>/etc/passwd
    for tool in rsync flock dnf; do
        [ -e "/usr/bin/$tool" ] || [ ! -e "$here/$tool" ] || ln -s "$here/$tool" "/usr/bin/$tool"
    done
    chmod 600 $here/host_key && mkfifo OVER
}
serve() {
    # Until the host connects, the port is at end of file, and the server exits at once.
    while :; do
        "$here/sshd" -i -f $here/sshd_config <>"$port" >&0
        sleep 0.1
    done &
    loop=$!
    read -r _ <OVER && kill "$loop"
}

echo 1..2
point 1 "the guest has a port for logins" prepare
[ -n "${port-}" ] || exit
point 2 "the host ended the session" serve
