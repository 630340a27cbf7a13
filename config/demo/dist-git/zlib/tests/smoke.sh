#!/bin/sh
# What zlib promises, asked on the CPU it was built for: TAP on standard output, nothing needed but busybox and the package.
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
echo "1..6"
seq 1 100000 >data
tests=/usr/libexec/zlib/tests

# Upstream's own program: every function of the library on a small text, and the versions of header and library compared.
says_version() { "$tests/example" | grep -F 'zlib version 1.3.1'; }
round_trip() { "$tests/minigzip" "-$1" <data | "$tests/minigzip" -d | cmp - data; }
gzip_reads() { gzip -dc data.gz | cmp - data; }
reads_gzip() { gzip -c data | "$tests/minigzip" -d | cmp - data; }

check "upstream's example runs and the library says its version" says_version
check "level 1 gives the data back" round_trip 1
check "level 9 gives the data back" round_trip 9
"$tests/minigzip" <data >data.gz
check "another gzip reads what the library wrote" gzip_reads
check "it reads what another gzip wrote" reads_gzip
damage data.gz damaged.gz
check "damaged data is refused" refuses "$tests/minigzip" -d <damaged.gz
