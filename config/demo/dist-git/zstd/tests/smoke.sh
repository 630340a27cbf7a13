#!/bin/sh
# Tests zstd on the CPU that it is built for. Prints TAP; needs only busybox and the package.
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
smaller() { test "$(wc -c <"$1")" -lt $(($(wc -c <"$2") / 3)); }

# By path, so that no other program of that name runs.
zstd() { /usr/bin/zstd "$@"; }

echo "TAP version 13"
echo "1..9"
seq 1 100000 >data
head -c 200000 /dev/urandom >noise

prints_version() { zstd --version | grep -F 'v1.5.7'; }
round_trip() { from=$1; shift; zstd -q -c "$@" "$from" | zstd -q -dc | cmp - "$from"; }
with_dictionary() { zstd -q -D dictionary -c data | zstd -q -dc -D dictionary | cmp - data; }

check "it says its version" prints_version
check "a file is compressed beside the original" zstd -q -k data
check "a whole file passes -t" zstd -q -t data.zst
check "the result is less than a third" smaller data.zst data
check "the fastest level gives the data back" round_trip data --fast=5
check "two threads at level 12 give the data back" round_trip data -12 -T2
check "what cannot be compressed comes back whole" round_trip noise -3
head -c 20000 data >dictionary
check "a dictionary gives the data back" with_dictionary
check "a damaged file is refused" refuses_damaged data.zst zstd -q -t
