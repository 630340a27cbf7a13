"""rpm's configuration for a site and a target: an rpmrc (compiler flags) and a macros file, as text.

In the sandbox, both are in /etc; mock gets the same. ``optflags`` is in the rpmrc, because rpm overwrites the macro of
that name from there (rpm 4.20, ``rpmrc.c``).
"""

from __future__ import annotations

from config.models import Site, Target
from workers.sandbox.tree import is_foreign, native_arch

_TOOLS = {
    "ar": "ar",
    "ranlib": "ranlib",
    "nm": "nm",
    "strip": "strip",
    "objdump": "objdump",
    "objcopy": "objcopy",
    "ld": "ld",
}

# The same for every target.
_COMMON = """\
%_topdir /builddir
%_dbpath /var/lib/rpm
%_vendor kitten
# debuginfo as on Enterprise Linux: a package for each binary package, sources beside them.
%_enable_debug_packages 1
%_debugsource_packages 1
%_debuginfo_subpackages 1
%_missing_build_ids_terminate_build 1
# Neither dwz nor the mini symbol table: their tools know the host's architecture only.
%_find_debuginfo_dwz_opts %{nil}
%_include_minidebuginfo 0
# The same inputs give the same bytes: one host name, times from the changelog, no file newer than that.
%_buildhost builder.kitten.invalid
%source_date_epoch_from_changelog 1
%use_source_date_epoch_as_buildtime 1
%clamp_mtime_to_source_date_epoch 1
%build_mtime_policy clamp_to_source_date_epoch
# zstd level 3: 19, the distribution's, takes as long as compiling on a small package, for a few per cent of size.
%_source_payload w3.zstdio
%_binary_payload w3.zstdio
# No rpath may ship: what the linker finds here is not where users have it.
%__arch_install_post /usr/lib/rpm/check-rpaths
%make_install %{__make} install DESTDIR=%{buildroot} INSTALL="/usr/bin/install -p"
"""

_SHELL_VARIABLES = """\
%set_build_flags \\
  CFLAGS="${CFLAGS:-%{build_cflags}}" ; export CFLAGS ; \\
  CXXFLAGS="${CXXFLAGS:-%{build_cxxflags}}" ; export CXXFLAGS ; \\
  LDFLAGS="${LDFLAGS:-%{build_ldflags}}" ; export LDFLAGS ; \\
  CC="${CC:-%{__cc}}" ; export CC ; CXX="${CXX:-%{__cxx}}" ; export CXX ; \\
  AR="${AR:-%{__ar}}" ; export AR ; RANLIB="${RANLIB:-%{__ranlib}}" ; export RANLIB ; \\
  NM="${NM:-%{__nm}}" ; export NM ; STRIP="${STRIP:-%{__strip}}" ; export STRIP ; \\
  CHOST="${CHOST:-%{_host}}" ; export CHOST
"""

# On the host's own architecture, libraries from BuildRequires are outside the loader's path, so that the tools of the
# tree do not load them. Only programs that the spec runs use them. (A foreign loader finds them: see the layer module.)
_LOADER_PATH = "".join(
    f"%__spec_{phase}_pre %{{___build_pre}} \\\n  LD_LIBRARY_PATH=/usr/lib64 ; export LD_LIBRARY_PATH \\\n%{{nil}}\n"
    for phase in ("conf", "build", "check")
)


def rpmrc(site: Site, target: Target | None) -> str:
    """Return the content of /etc/rpmrc: the distribution's compiler flags and the target's; empty without a target."""
    if target is None:
        return ""
    return f"optflags: {target.rpm_arch} {' '.join((*site.build.optflags, *target.flags.compiler))}\n"


def macros(site: Site, target: Target | None) -> str:
    """Return the content of /etc/rpm/macros; without a target, only what rpm needs to parse a spec and pack an SRPM."""
    build = site.build
    lines = [f"%dist {build.dist}", f"%vendor {build.vendor}", f"%packager {build.vendor}"]
    lines += [f"%bugurl {build.bugurl}"] if build.bugurl else []
    lines += [f"%build_ldflags {' '.join(build.ldflags)}"]
    lines += [f"%{name} {value}" for name, value in build.macros.items()]
    text = _COMMON + "\n".join(lines) + "\n" + _SHELL_VARIABLES
    if target is None:
        return text
    foreign = is_foreign(target)
    prefix = f"{target.architecture.triplet}-" if foreign else ""
    native = next((t.architecture.triplet for t in site.targets if not is_foreign(t)), f"{native_arch()}-linux-gnu")
    specific = [
        "%_prefix /usr",
        "%_lib lib64",
        "%_libdir %{_prefix}/lib64",
        f"%_build {native}",
        f"%_host {target.architecture.triplet}",
        "%_target_platform %{_host}",
        f"%__cc {prefix}gcc",
        f"%__cxx {prefix}g++",
        f"%__cpp {prefix}gcc -E",
        *(f"%__{name} {prefix}{tool}" for name, tool in _TOOLS.items()),
    ]
    return text + "\n".join(specific) + "\n" + ("" if foreign else _LOADER_PATH)
