#!/usr/bin/bash
# Profiles the two programs of the control and the package's tests/perf/*.sh, in a guest. It prints for each:
#   profile NAME
#   status NAME NUMBER
#   stack SAMPLES FUNCTION@FILE FUNCTION@FILE …      the innermost function first
# The kernel walks the stacks for perf, by frame pointers or back chains. Samples inside the kernel do not count.

fold() {
    awk '
        function flush() { if (stack != "") count[stack]++; stack = "" }
        NF == 0 { flush(); next }
        { file = $NF; gsub(/^\(|\)$/, "", file); stack = stack " " (NF > 2 ? $2 : "[unknown]") "@" file }
        END { flush(); for (each in count) print "stack", count[each] each }
    ' | sort -k 2 -rn | head -n 2000
}

profile() { # profile NAME COMMAND…
    echo "profile $1"
    # A term of the event, not --call-graph: with that option perf on aarch64 also reads the debug data to find the
    # innermost caller.
    perf record --quiet --no-buildid-cache --output /tmp/profile \
        --event cpu-clock/call-graph=fp/u --freq 999 -- "${@:2}"
    echo "status $1 $?"
    perf script --input /tmp/profile --no-inline --no-demangle --fields ip,sym,dso 2>/tmp/complaints | fold
    cat /tmp/complaints
    rm -f /tmp/profile
}

perf() { /kitten/perf/loader --library-path /kitten/perf /kitten/perf/perf "$@"; }

for program in framed unframed; do
    profile "$program" "/kitten/perf/$program"
done
cd /kitten/tests/perf 2>/dev/null || exit 0
for script in *.sh; do
    profile "$script" /usr/bin/bash "$script"
done
exit 0
