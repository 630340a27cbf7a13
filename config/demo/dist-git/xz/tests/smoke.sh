#!/bin/sh
# What xz promises, asked on the CPU it was built for: TAP on standard output, nothing needed but busybox and the package.
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
echo "1..8"
seq 1 60000 >data
head -c 100000 /dev/urandom >noise

prints_version() { xz --version | grep -F 'liblzma 5.8.1'; }
round_trip() { from=$1; shift; xz -c "$@" "$from" | xz -dc | cmp - "$from"; }
lzma_format() { xz --format=lzma -1 -c data >data.lzma && unlzma -c data.lzma | cmp - data; }

check "the library says its version" prints_version
check "a file is compressed beside the original" xz -1 -k data
check "the result is less than a third" smaller data.xz data
check "a whole file passes -t" xz -t data.xz
check "two threads in small blocks give the data back" round_trip data -1 -T2 --block-size=64KiB
check "what cannot be compressed comes back whole" round_trip noise -1 --check=sha256
check "the .lzma format gives the data back" lzma_format
damage data.xz damaged.xz
check "a damaged file is refused" refuses xz -t damaged.xz
