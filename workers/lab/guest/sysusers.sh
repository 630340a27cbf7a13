#!/usr/bin/busybox sh
# shellcheck shell=dash
# Adds the users and groups that packages declare (sysusers.d(5)). rpm calls it as: sysusers [--root /] -, with the
# lines on standard input. The guest has no useradd. New numbers start at 999 and go down, as in systemd-sysusers.
set -eu

next() { # next FILE: prints the highest unused number below 1000
    number=999
    while cut -d: -f3 "$1" | grep -qx "$number"; do number=$((number - 1)); done
    echo "$number"
}
group() { # group NAME NUMBER|-
    grep -q "^$1:" /etc/group && return
    number=$2
    [ "$number" = - ] && number=$(next /etc/group)
    echo "$1:x:$number:" >>/etc/group
}
user() { # user NAME NUMBER|NUMBER:GROUP|- [GECOS HOME SHELL]
    grep -q "^$1:" /etc/passwd && return
    case $2 in
        *:*) of=${2#*:} number=${2%:*} ;;
        *) of=$1 number=$2 ;;
    esac
    group "$of" "$number"
    gid=$(grep "^$of:" /etc/group | cut -d: -f3)
    [ "$number" = - ] && number=$(next /etc/passwd)
    home=${4:--} shell=${5:--}
    [ "$home" = - ] && home=/
    [ "$shell" = - ] && shell=/usr/sbin/nologin
    echo "$1:x:$number:$gid:${3:-}:$home:$shell" >>/etc/passwd
}
member() { # member USER GROUP
    user "$1" -
    group "$2" -
    sed -i "s/^\($2:.*[^:]\)\$/\1,$1/; s/^\($2:.*:\)\$/\1$1/" /etc/group
}

while read -r kind rest || [ -n "$kind" ]; do
    case $kind in
        '' | '#'* | ';'*) continue ;;
    esac
    eval "set -- $rest" # the fields may be quoted
    case $kind in
        u | u!) user "$@" ;;
        g) group "$1" "${2:--}" ;;
        m) member "$1" "$2" ;;
    esac
done
