#!/bin/sh
# Tests xz on the CPU that it is built for. Prints TAP; needs only busybox and the package.
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

# By path: busybox has programs of these names too, and its shell prefers them.
xz() { /usr/bin/xz "$@"; }
unlzma() { /usr/bin/unlzma "$@"; }

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
check "a damaged file is refused" refuses_damaged data.xz xz -t
