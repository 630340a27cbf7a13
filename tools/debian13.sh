#!/usr/bin/env bash
# Runs a command in a Debian 13 userland on this host, in this checkout.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: tools/debian13.sh [--fresh] [--user | --user-without-sudo] [COMMAND [ARGUMENT…]]

Runs COMMAND (default: a shell) in a Debian 13 tree on this host, as root or as a user, in a copy of this checkout with
its commit, its changes and its new files. The tree is made on first use in $KITTEN_CACHE/debian13 (default:
~/.cache/kitten-ci/debian13) and keeps the changes of commands. A single argument with spaces is a command line of bash.

  --fresh               start from a new tree, without the changes of earlier commands
  --user                as the user kitten, which may use sudo without a password
  --user-without-sudo   as the user plain, which may not use sudo

  tools/debian13.sh --fresh make test
  tools/debian13.sh --user 'make demo && make stop'

Needs root and mmdebstrap. All processes that the command starts end with it. Packages come from $KITTEN_DEBIAN_MIRROR,
else from the mirror of the host's apt; their suite is $KITTEN_DEBIAN13_SUITE, else trixie.
TEXT
}

fail() {
    echo "debian13: $1" >&2
    exit 2
}

fresh='' user=root home=/root
while [ $# -gt 0 ]; do
    case $1 in
        --fresh) fresh=yes ;;
        --user) user=kitten home=/home/kitten ;;
        --user-without-sudo) user=plain home=/home/plain ;;
        -h | --help) usage; exit ;;
        --) shift; break ;;
        -*) usage >&2; fail "unknown option $1" ;;
        *) break ;;
    esac
    shift
done
checkout=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" -eq 0 ] || fail "only root can change the root folder: run this with sudo"
for tool in mmdebstrap git unshare pivot_root flock; do
    command -v "$tool" >/dev/null || fail "$tool is not installed: apt-get install mmdebstrap git util-linux"
done

cache=${KITTEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kitten-ci}/debian13
mkdir -p "$cache"
cache=$(realpath "$cache")
tree=$cache/tree
mirror=${KITTEN_DEBIAN_MIRROR:-}
if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
    # shellcheck disable=SC2016 # the dollar is apt's
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
fi
mirror=${mirror%/}
[ -n "$mirror" ] || fail "apt on this host has no mirror of Debian: export KITTEN_DEBIAN_MIRROR=URL"

# ------------------------------------------------------------------------------------------------------------ the tree

packages=ca-certificates,git,iproute2,make,mount,passwd,procps,python3,python3-venv,sudo,util-linux
make_archive() { # SUITE: makes $archive, a whole tree, by one rename
    # shellcheck disable=SC2016 # "$1" is the hook's
    mmdebstrap --quiet --mode=root --variant=apt --format=tar --include="$packages" \
        --keyring=/usr/share/keyrings \
        --customize-hook='for user in kitten plain; do chroot "$1" useradd -m -s /bin/bash "$user"; done' \
        --customize-hook='echo "kitten ALL=(ALL) NOPASSWD: ALL" >"$1/etc/sudoers.d/kitten"' \
        "$1" "$cache/archive.partial" "$mirror" 2>"$cache/mmdebstrap.log" || return
    # Another suite is used only if it is trixie under another name.
    tar -xOf "$cache/archive.partial" ./usr/lib/os-release | grep -qx 'VERSION_CODENAME=trixie' || return
    mv "$cache/archive.partial" "$archive"
}

key=$(printf '%s\n' "$packages" "$mirror" "${KITTEN_DEBIAN13_SUITE:-}" "$(declare -f make_archive)" | sha256sum)
archive=$cache/${key:0:16}.tar
make_tree() {
    # Remove the files of killed runs, and archives of earlier versions.
    rm -rf "$cache"/*.partial
    if [ ! -f "$archive" ]; then
        rm -f "$cache"/*.tar
        echo "debian13: the Debian 13 tree in $cache" >&2
        # During an update, a mirror may lack files of one name of a release and have all of the other.
        if [ -n "${KITTEN_DEBIAN13_SUITE:-}" ]; then
            make_archive "$KITTEN_DEBIAN13_SUITE"
        else
            make_archive trixie || make_archive stable
        fi || {
            tail -n 5 "$cache/mmdebstrap.log" >&2
            rm -f "$cache/archive.partial"
            fail "mmdebstrap failed with the mirror $mirror (log: $cache/mmdebstrap.log);
  → check the network, or choose another mirror: export KITTEN_DEBIAN_MIRROR=URL"
        }
    fi
    mkdir "$cache/tree.partial"
    tar -C "$cache/tree.partial" --numeric-owner --xattrs --xattrs-include='*' -xf "$archive"
    mv "$cache/tree.partial" "$tree"
}

# Commands share the tree; a command that replaces it must be the only one. The kernel releases the locks of ended
# processes.
exec 9>>"$cache/lock"
if [ -n "$fresh" ] || [ ! -d "$tree" ]; then
    flock --exclusive --nonblock 9 || {
        [ -z "$fresh" ] || fail "another command runs in $tree; wait for it, or leave out --fresh"
        flock --exclusive 9
    }
    if [ -n "$fresh" ] && [ -d "$tree" ]; then
        rm -rf "$cache/old.partial"
        mv "$tree" "$cache/old.partial"
    fi
    [ -d "$tree" ] || make_tree
fi
flock --shared 9

# ------------------------------------------------------- the network settings of the host: names, certificates, proxies

host_file() { # PATH: copies a file or folder of the host over that of the tree
    rm -rf "${tree:?}$1"
    [ -e "$1" ] || return 0
    mkdir -p "$tree$(dirname "$1")"
    cp -rL --no-preserve=ownership "$1" "$tree$1"
}
for path in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates \
    /etc/pip.conf /etc/xdg/pip; do
    host_file "$path"
done
if command -v apt-config >/dev/null; then
    apt-config dump | grep -E '^Acquire::(https?|Check-[A-Za-z-]+|Retries)\b' >"$tree/etc/apt/apt.conf.d/99host" || true
fi
variables=(HOME="$home" USER="$user" LOGNAME="$user" SHELL=/bin/bash LANG=C.UTF-8 KITTEN_DEBIAN_MIRROR="$mirror"
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in $(compgen -e); do
    case $name in
        TERM | PIP_* | http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | \
            SSL_CERT_FILE | REQUESTS_CA_BUNDLE)
            variables+=("$name=${!name}") ;;
    esac
done

# ------------------------------------------------------------------------------------------------------- the checkout

# The checkout is copied as archives, which the user unpacks in the tree: outside, no program or setting of the tree is
# used.
parcel=$(mktemp -d "$tree/var/tmp/checkout.XXXXXX")
trap 'rm -rf "$parcel"' EXIT
chmod 755 "$parcel"
git -C "$checkout" bundle create --quiet "$parcel/bundle" HEAD
git -C "$checkout" diff --binary HEAD >"$parcel/changes"
(cd "$checkout" && git ls-files -z --others --exclude-standard | tar --null -T - -cf "$parcel/new.tar")

# ----------------------------------------------------------------------------------------------------- the namespaces

[ $# -gt 0 ] || set -- bash -i
[ $# -gt 1 ] || [[ $1 != *[[:space:]]* ]] || set -- bash -c "$1"
# shellcheck disable=SC2016 # the inner shell expands the variables
inside='
set -euo pipefail
tree=$1 user=$2 parcel=$3 count=$4
shift 4
variables=("${@:1:count}")
shift "$count"
# A chroot is not enough: mmdebstrap and user namespaces need a root folder that is a mount point.
mount --bind "$tree" "$tree"
cd "$tree"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
for folder in ${PIP_FIND_LINKS:-}; do # folders with wheels on the host
    if [ "${folder#/}" != "$folder" ] && [ -d "$folder" ]; then
        mkdir -p ".$folder"
        mount --bind "$folder" ".$folder"
        mount -o remount,bind,ro ".$folder"
    fi
done
mkdir -p .host
pivot_root . .host
cd /
umount -l /.host
rmdir /.host
as=(env -i "${variables[@]}")
[ "$user" = root ] || as=(setpriv --reuid "$user" --regid "$user" --init-groups "${as[@]}")
"${as[@]}" bash -euc '\''
    mkdir -p ~/kitten-ci
    cd ~/kitten-ci
    [ -d .git ] || git -c init.defaultBranch=main init -q
    git fetch -q --force "$1/bundle" HEAD
    git reset -q --hard FETCH_HEAD
    git clean -qfd
    [ ! -s "$1/changes" ] || git apply --whitespace=nowarn "$1/changes"
    tar -xf "$1/new.tar"
'\'' checkout "$parcel"
rm -rf "$parcel"
# No exec: this shell is process 1, and waits for orphaned processes.
cd "$("${as[@]}" bash -c "echo ~/kitten-ci")"
"${as[@]}" "$@" || exit
'
trap - EXIT
exec unshare --mount --pid --fork --kill-child --propagation private \
    bash -c "$inside" debian13 "$tree" "$user" "${parcel#"$tree"}" "${#variables[@]}" "${variables[@]}" "$@"
