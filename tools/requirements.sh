#!/usr/bin/env bash
# Compiles requirements.txt from pyproject.toml, then checks that each pinned version can be installed: for each
# supported Python and architecture it has a wheel, or is one of the few that are compiled there.
#   tools/requirements.sh [--check]     --check: do not change requirements.txt
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    found=$(tools/interpreter.sh)
    tools=${KITTEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kitten-ci}/uv
    uv=$tools/bin/uv
    if ! "$uv" --version >/dev/null 2>&1; then
        echo "requirements: uv, in $tools"
        rm -rf "$tools"
        mkdir -p "${tools%/*}"
        "${found#* }" -m venv "$tools"
        "$tools/bin/pip" install -qq --disable-pip-version-check uv
    fi
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

mapfile -t pythons < <(sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml)
if [ "${1:-}" != --check ]; then
    # Compile a copy, and replace the file by one rename: pinned versions stay pinned, and a failure changes nothing.
    cp requirements.txt "$scratch/requirements.txt"
    "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
        --no-annotate --no-header --python-version "${pythons[0]}" --extra dev \
        pyproject.toml -o "$scratch/requirements.txt"
    if grep -n '://' "$scratch/requirements.txt"; then
        echo "requirements: requirements.txt would have addresses (above); use only versions in pyproject.toml" >&2
        exit 1
    fi
    cmp -s "$scratch/requirements.txt" requirements.txt || {
        cp "$scratch/requirements.txt" requirements.txt.new
        mv requirements.txt.new requirements.txt
    }
fi

names=$(sed -n 's/^\([a-z0-9._-]*\)[=[].*/\1/p' requirements.txt | sort -u)
failed=()
for python in "${pythons[@]}"; do
    for machine in x86_64 aarch64; do
        # Buildbot needs crypt-r since Python 3.13, which has no wheels; iced-x86 has none for aarch64. The packages of
        # tools/interpreter.sh --needs compile these. Anything else that must be compiled is an error.
        compiled=()
        case $python in 3.11 | 3.12) ;; *) compiled+=(crypt-r) ;; esac
        [ "$machine" = x86_64 ] || compiled+=(iced-x86)
        wheels=()
        for name in $names; do
            [[ " ${compiled[*]} " == *" $name "* ]] || wheels+=(--only-binary "$name")
        done
        if "$uv" pip install --dry-run --quiet --no-deps --require-hashes "${wheels[@]}" --target "$scratch/none" \
            --python-version "$python" --python-platform "$machine-manylinux_2_28" \
            -r requirements.txt 2>"$scratch/errors"; then
            note=${compiled[*]:+; compiled: ${compiled[*]}}
            echo "Python $python on $machine: every pinned version can be installed$note"
        else
            echo "Python $python on $machine: not every pinned version can be installed:" >&2
            sed 's/^/    /' "$scratch/errors" >&2
            failed+=("$python on $machine")
        fi
    done
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "requirements: in pyproject.toml, choose versions that exist for all of these, by markers if they differ:" \
        "$(printf '%s, ' "${failed[@]}" | sed 's/, $//')" >&2
    exit 1
fi
