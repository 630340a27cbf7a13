#!/usr/bin/env bash
# Prints the version and the path of the Python interpreter for the environment.
#   tools/interpreter.sh            "3.11.2 /usr/bin/python3.11"; an error in one line and status 2 if none is usable
#   tools/interpreter.sh --needs    the missing Debian packages that the environment needs with it, one per line
#
# It is $PYTHON; else the interpreter of .venv; else that of the operating system; else python3 on PATH. The operating
# system comes before PATH: its interpreter is the same in each shell, service and CI (version managers and conda change
# PATH), gets security updates, and has packages for what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

system=/usr/bin/python3
describe='import os, platform, sys
if sys.version_info >= (3, 11): print(platform.python_version(), os.path.realpath(sys.executable))'

chosen=
kept=$(cut -d ' ' -f 3- .venv/.made-from 2>/dev/null || true)
for candidate in "${PYTHON:-$kept}" "$system" python3; do
    # The shim of a version manager may be on PATH and still fail with "command not found".
    if [ -n "$candidate" ] && chosen=$("$candidate" -I -c "$describe" 2>/dev/null) && [ -n "$chosen" ]; then break; fi
    chosen=
    if [ -n "${PYTHON:-}" ]; then
        echo "setup: PYTHON=$PYTHON is missing, does not run or is older than Python 3.11;" \
            "install it, or choose another" >&2
        exit 2
    fi
done
version=${chosen%% *} python=${chosen#* }

if [ "${1:-}" != --needs ]; then
    if [ -z "$chosen" ]; then
        echo "setup: neither $system nor python3 on PATH is Python 3.11 or newer; install one," \
            "or choose one: make setup PYTHON=/path/to/python3" >&2
        exit 2
    fi
    echo "$chosen"
    exit
fi

# A complete environment needs no packages.
[ -e .venv/.made-from ] && exit 0

if [ -z "$chosen" ]; then
    printf '%s\n' python3 python3-venv
    # The Python of Debian 12 and Ubuntu 24.04 is older than 3.13 (see below).
    grep -qsE '^VERSION_CODENAME=(bookworm|noble)$' /etc/os-release ||
        printf '%s\n' gcc libc6-dev libcrypt-dev python3-dev
    exit
fi

# Only for the operating system's interpreters, packages have what is missing.
package=
case $python in
    "$(realpath "$system" 2>/dev/null)") package=python3 ;;
    /usr/bin/python3.*) package=$(basename "$python") ;;
esac
if [ -n "$package" ] && ! command -v uv >/dev/null && ! "$python" -I -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$package-venv"
fi

# Since Python 3.13, Buildbot needs crypt-r; iced-x86 has wheels only for x86-64: pip compiles them from source.
compiles=()
case $version in 3.11.* | 3.12.*) ;; *) compiles+=(crypt) ;; esac
[ "$(uname -m)" = x86_64 ] || compiles+=(rust)
[ ${#compiles[@]} -eq 0 ] && exit 0
if ! command -v cc >/dev/null; then
    printf '%s\n' gcc libc6-dev
fi
if [[ " ${compiles[*]} " == *" crypt "* ]] && ! cc -E -include crypt.h -x c /dev/null >/dev/null 2>&1; then
    echo libcrypt-dev
fi
if [[ " ${compiles[*]} " == *" rust "* ]] && ! command -v cargo >/dev/null; then
    echo cargo
fi
header='import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'
if [ -n "$package" ] && ! "$python" -I -c "$header"; then
    echo "$package-dev"
fi
