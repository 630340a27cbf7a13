#!/bin/sh
# Tests pigz on the CPU that it is built for. Prints TAP; needs only busybox and the package.
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
pigz() { /usr/bin/pigz "$@"; }

echo "TAP version 13"
echo "1..7"
seq 1 100000 >data

prints_version() { pigz --version 2>&1 | grep -F 'pigz 2.8'; }
round_trip() { pigz -c "$@" data | pigz -dc | cmp - data; }
gzip_reads() { pigz -p 2 -c data | gzip -dc | cmp - data; }
reads_gzip() { gzip -c data | pigz -dc | cmp - data; }
zlib_format() { pigz -z -c data >data.zz && pigz -dc <data.zz | cmp - data; }

check "it says its version" prints_version
check "two threads give the data back" round_trip -p 2 -b 128
check "level 1 gives the data back" round_trip -p 2 -1
check "another gzip reads what two threads wrote" gzip_reads
check "it reads what another gzip wrote" reads_gzip
check "the zlib format gives the data back" zlib_format
pigz -k data
check "a damaged file is refused" refuses_damaged data.gz pigz -t
