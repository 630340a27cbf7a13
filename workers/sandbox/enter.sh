#!/bin/sh
# Run a command with mounts and an emulator that no other process on the host sees; both end with the command.
# Called in new user and mount namespaces (unshare --user --map-root-user --mount).
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
    # The kernel wants the line in one write; printf %s leaves the \x of the magic numbers for the kernel.
    printf %s "$handler" 2>/dev/null >/proc/sys/fs/binfmt_misc/register || refuse register
fi
if [ -n "$overlay" ]; then
    mount -t overlay overlay -o "$overlay" "$folder" 2>/dev/null || refuse overlay
fi
exec "$@"
