#!/bin/sh
# bzip2 at work, for the profiler of the suite perf: it must find its way from the sorting of a block out to main.
# kitten: stack main BZ2_bzCompress BZ2_compressBlock
seq 1 200000 | /usr/bin/bzip2 -9 >/dev/null
