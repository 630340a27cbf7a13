#!/bin/sh
# Tests zlib on the CPU that it is built for. Prints TAP; needs only busybox and the package.
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

echo "TAP version 13"
echo "1..6"
seq 1 100000 >data
tests=/usr/libexec/zlib/tests

# Upstream's example: calls every function of the library on a small text; compares the versions of header and library.
says_version() { "$tests/example" | grep -F 'zlib version 1.3.1'; }
# shellcheck disable=SC2094 # nothing writes to data
round_trip() { "$tests/minigzip" "-$1" <data | "$tests/minigzip" -d | cmp - data; }
gzip_reads() { gzip -dc data.gz | cmp - data; }
reads() { "$tests/minigzip" -d <"$1"; }
reads_gzip() { gzip -c data | "$tests/minigzip" -d | cmp - data; }

check "upstream's example runs and the library says its version" says_version
check "level 1 gives the data back" round_trip 1
check "level 9 gives the data back" round_trip 9
"$tests/minigzip" <data >data.gz
check "another gzip reads what the library wrote" gzip_reads
check "it reads what another gzip wrote" reads_gzip
check "damaged data is refused" refuses_damaged data.gz reads
