#!/bin/sh
# Tests lz4 on the CPU that it is built for. Prints TAP; needs only busybox and the package.
set -u
cd "$(mktemp -d)" || exit 1

number=0
check() { # check NAME COMMAND...: prints a line of TAP, with the command's output if it fails
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
refuses_damaged() { # refuses_damaged FILE COMMAND...: accepts FILE, fails if its middle is damaged
    file=$1
    shift
    "$@" "$file" || return
    cp "$file" "damaged-$file"
    printf 'DAMAGED!' | dd of="damaged-$file" bs=1 seek=$(($(wc -c <"$file") / 2)) conv=notrunc
    "$@" "damaged-$file"
    status=$?
    test "$status" -ne 0 && test "$status" -lt 126 # 126 and above: it could not run, or a signal ended it
}

# By path, so that no other program of that name runs.
lz4() { /usr/bin/lz4 "$@"; }
unlz4() { /usr/bin/unlz4 "$@"; }

echo "TAP version 13"
echo "1..8"
seq 1 100000 >data
head -c 200000 /dev/urandom >noise

prints_version() { lz4 --version | grep -F 'v1.10.0'; }
round_trip() { from=$1; shift; lz4 -q -c "$@" "$from" | lz4 -q -dc | cmp - "$from"; }
legacy_format() { lz4 -q -l -c data >data.legacy && unlz4 -q -c data.legacy | cmp - data; }

check "it says its version" prints_version
check "a file is compressed beside the original" lz4 -q -k data data.lz4
check "a whole file passes -t" lz4 -q -t data.lz4
check "the fastest level gives the data back" round_trip data --fast=8
check "the high compression level gives the data back" round_trip data -9 -B4 -BD
check "what cannot be compressed comes back whole" round_trip noise -1
check "the legacy format gives the data back" legacy_format
check "a damaged file is refused" refuses_damaged data.lz4 lz4 -q -t
