#!/bin/sh
# Runs a command with mounts and an emulator that nobody else on the host sees, and that end with it.
# Called in fresh user and mount namespaces (unshare --user --map-root-user --mount).
#
# usage: enter.sh HANDLER OVERLAY FOLDER COMMAND…
#   HANDLER  a line for binfmt_misc's register file, or empty
#   OVERLAY  options of an overlay to mount on FOLDER, or empty
set -eu

refuse() {
    echo "kitten-sandbox: $1" >&2
    exit 125
}

handler=$1 overlay=$2 folder=$3
shift 3

if [ -n "$handler" ]; then
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc 2>/dev/null || refuse binfmt
    # In one write, as the kernel wants it; printf %s leaves the \x of the magic numbers to the kernel.
    printf %s "$handler" 2>/dev/null >/proc/sys/fs/binfmt_misc/register || refuse register
fi
if [ -n "$overlay" ]; then
    mount -t overlay overlay -o "$overlay" "$folder" 2>/dev/null || refuse overlay
fi
exec "$@"
