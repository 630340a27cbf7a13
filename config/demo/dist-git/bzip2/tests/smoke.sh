#!/bin/sh
# Tests bzip2 on the CPU that it is built for. Prints TAP; needs only busybox and the package.
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
bzip2() { /usr/bin/bzip2 "$@"; }
bunzip2() { /usr/bin/bunzip2 "$@"; }

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
check "a damaged file is refused" refuses_damaged data.bz2 bzip2 -t
