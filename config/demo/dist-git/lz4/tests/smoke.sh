#!/bin/sh
# What lz4 promises, asked on the CPU it was built for: TAP on standard output, nothing needed but busybox and the package.
set -u
cd "$(mktemp -d)" || exit 1

number=0
check() { # check NAME COMMAND...: one line of TAP, with the command's words below it if it fails
    name=$1
    shift
    number=$((number + 1))
    if "$@" >output 2>&1; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        sed 's/^/# /' output
    fi
}
refuses() { ! "$@"; }
damage() { # damage FROM TO: a copy with eight changed bytes in its middle
    cp "$1" "$2"
    printf 'DAMAGED!' | dd of="$2" bs=1 seek=$(($(wc -c <"$1") / 2)) conv=notrunc 2>/dev/null
}
smaller() { test "$(wc -c <"$1")" -lt $(($(wc -c <"$2") / 3)); }

echo "TAP version 13"
echo "1..7"
seq 1 100000 >data
head -c 200000 /dev/urandom >noise

prints_version() { lz4 --version | grep -F 'v1.10.0'; }
round_trip() { from=$1; shift; lz4 -q -c "$@" "$from" | lz4 -q -dc | cmp - "$from"; }
legacy_format() { lz4 -q -l -c data >data.legacy && unlz4 -q -c data.legacy | cmp - data; }

check "it says its version" prints_version
check "a whole file passes -t" sh -c 'lz4 -q -k data data.lz4 && lz4 -q -t data.lz4'
check "the fastest level gives the data back" round_trip data --fast=8
check "the high compression level gives the data back" round_trip data -9 -B4 -BD
check "what cannot be compressed comes back whole" round_trip noise -1
check "the legacy format gives the data back" legacy_format
damage data.lz4 damaged.lz4
check "a damaged file is refused" refuses lz4 -q -t damaged.lz4
