#!/bin/sh
# What bzip2 promises, asked on the CPU it was built for: TAP on standard output, nothing needed but busybox and the package.
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

prints_version() { bzip2 --help 2>&1 | grep -F 'Version 1.0.8'; }
round_trip() { bzip2 -c "-$2" "$1" | bunzip2 -c | cmp - "$1"; }
concatenated() { cat data.bz2 noise.bz2 | bzip2 -dc | cmp - both; }

check "the library says its version" prints_version
check "a file is compressed beside the original" bzip2 -k data
check "the result is less than a third" smaller data.bz2 data
check "a whole file passes -t" bzip2 -t data.bz2
check "level 1 gives the data back" round_trip data 1
check "what cannot be compressed comes back whole" round_trip noise 9
bzip2 -k noise
cat data noise >both
check "streams one after the other are read as one" concatenated
damage data.bz2 damaged.bz2
check "a damaged file is refused" refuses bzip2 -t damaged.bz2
