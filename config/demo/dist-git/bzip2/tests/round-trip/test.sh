#!/bin/bash
# Every compression level, on text and on noise.
set -euo pipefail
cd "$(mktemp -d)"
seq 1 20000 >text
head -c 50000 /dev/urandom >noise
for level in 1 2 3 4 5 6 7 8 9; do
    for file in text noise; do
        bzip2 -c -"$level" "$file" >packed
        bunzip2 -c packed | cmp - "$file"
    done
    echo "level $level: ok"
done
