"""What a binary package says of itself: architecture, platform, and the flags rpmbuild was given."""

from __future__ import annotations

from collections.abc import Iterator

from workers.formats.rpm_header import RpmHeader
from workers.results import Check
from workers.verify.producers import missing_flags
from workers.verify.promise import Promise, answer


def judge_header(promise: Promise, name: str, header: RpmHeader) -> Iterator[Check]:
    """The checks of one package's header.

    :param name: file name of the package.
    """
    target = promise.target
    if header.arch == "src":
        yield Check(rule="header-arch", file=name, outcome="skipped", reason="source-package")
        return
    fits = header.arch in (target.rpm_arch, "noarch")
    yield answer("header-arch", name, fits, f"{header.arch}; {target.name} takes {target.rpm_arch} and noarch")
    if header.arch == "noarch":
        yield Check(rule="header-optflags", file=name, outcome="skipped", reason="noarch")
        return
    # A GNU triplet, in the distribution's or in the sandbox's spelling: ppc64le-redhat-linux-gnu, powerpc64le-linux-gnu.
    processors = {target.rpm_arch, target.machine_arch, target.architecture.triplet.split("-")[0]}
    platform_fits = header.platform.split("-")[0] in processors
    yield answer("header-platform", name, platform_fits, header.platform or "no PLATFORM in the header")
    missing = missing_flags(header.optflags.split(), (*promise.site.build.optflags, *promise.flags))
    detail = f"OPTFLAGS lacks {' '.join(missing)}: {header.optflags or '(empty)'}" if missing else header.optflags
    yield answer("header-optflags", name, not missing, detail)
