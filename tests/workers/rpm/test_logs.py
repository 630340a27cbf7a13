"""The line to read first is found, with its phase."""

from __future__ import annotations

import pytest

from workers.rpm.logs import cause, timeout_cause

COMPILE = """Executing(%prep): /bin/sh -e /var/tmp/rpm-tmp.1
+ echo FAIL not really
Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.2
+ make
gcc -O2 -c pigz.c
pigz.c:12:3: warning: unused variable
pigz.c:360:10: fatal error: zlib.h: No such file or directory
compilation terminated.
make: *** [<builtin>: pigz.o] Error 1
error: Bad exit status from /var/tmp/rpm-tmp.2 (%build)

RPM build errors:
    Bad exit status from /var/tmp/rpm-tmp.2 (%build)
"""
CHECK = """Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.2
conftest.c:3:1: error: only a configure test, in a phase that went well
Executing(%check): /bin/sh -e /var/tmp/rpm-tmp.3
PASS: test-1
FAIL: test-2
# FAIL:  1
make: *** [Makefile:9: check] Error 2
error: Bad exit status from /var/tmp/rpm-tmp.3 (%check)
"""
LINK = """Executing(%build): /bin/sh -e /var/tmp/rpm-tmp.2
/usr/bin/ld: cannot find -lz: No such file or directory
collect2: error: ld returned 1 exit status
error: Bad exit status from /var/tmp/rpm-tmp.2 (%build)
"""
UNPACKAGED = """Checking for unpackaged file(s): /usr/lib/rpm/check-files /builddir/BUILD/x
error: Installed (but unpackaged) file(s) found:
   /usr/lib64/libz.a
   /usr/share/man/man3/zlib.3.gz


RPM build errors:
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (COMPILE, "%build failed: pigz.c:360:10: fatal error: zlib.h: No such file or directory"),
        (CHECK, "%check failed: FAIL: test-2"),
        (LINK, "%build failed: /usr/bin/ld: cannot find -lz: No such file or directory"),
        (
            UNPACKAGED,
            "Installed (but unpackaged) file(s) found: /usr/lib64/libz.a, /usr/share/man/man3/zlib.3.gz",
        ),
        (
            "error: Failed build dependencies:\n\tzlib-devel is needed by pigz-2.8-1.el10.s390x\n",
            "Failed build dependencies: zlib-devel is needed by pigz-2.8-1.el10.s390x",
        ),
        ("error: File not found: /builddir/x/usr/bin/y\n", "File not found: /builddir/x/usr/bin/y"),
        ("error: line 3: Unknown tag: Nonsense: 1\n", "line 3: Unknown tag: Nonsense: 1"),
        ("", "rpmbuild failed"),
    ],
)
def test_the_cause_of_a_failed_build(log: str, expected: str) -> None:
    assert cause(log) == expected


def test_a_phase_without_a_known_error_shows_its_last_line() -> None:
    log = "Executing(%check): /bin/sh\n+ ./test\n3 is not 4\n+ exit 1\nerror: Bad exit status from /t (%check)\n"
    assert cause(log) == "%check failed: ./test: 3 is not 4"


def test_errors_of_earlier_commands_are_not_the_cause() -> None:
    log = (
        "Executing(%check): /bin/sh\n+ make test\nzstd: /*stdout*\\: No space left on device\nall tests passed\n"
        "+ ./decodecorpus -t5\nUsage :\n -h display help\nerror: Bad exit status from /t (%check)\n"
    )
    assert cause(log) == "%check failed: ./decodecorpus -t5: -h display help"


def test_a_build_at_its_time_limit_names_the_phase_and_the_last_line() -> None:
    message = timeout_cause("Executing(%build): x\nExecuting(%check): y\n+ make check\nfuzzer: round 12\n", 20)
    assert message == "%check did not end within 20 min; its last line: fuzzer: round 12"
