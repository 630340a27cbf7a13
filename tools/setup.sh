#!/usr/bin/env bash
# Makes the Python environment in .venv, or in $KITTEN_VENV: exactly the versions and hashes of requirements.txt, then
# this checkout, editable. Makes it again only if requirements.txt, pyproject.toml or the interpreter changed, or after
# a kill.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${KITTEN_VENV:-.venv}
stamp=$venv/.made-from
found=$(tools/interpreter.sh)
python=${found#* }
want="$(cat requirements.txt pyproject.toml | sha256sum | cut -d ' ' -f 1) $found"
is_made() { [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ] && [ -x "$venv/bin/python" ]; }
is_made && exit 0

# A second set-up of this checkout waits for the first. The kernel releases the lock when its holder ends or is killed.
exec 9<.
flock 9
is_made && exit 0

if ! command -v uv >/dev/null && ! missing=$("$python" -I -c 'import ensurepip, venv' 2>&1); then
    echo "setup: $python cannot make environments (${missing##*$'\n'}); for the interpreters of Debian and Ubuntu," \
        "make setup installs what is missing; else choose another: make setup PYTHON=/usr/bin/python3" >&2
    exit 2
fi

echo "setup: the Python environment in $venv (Python ${found%% *})"
failed() {
    echo "setup: the environment in $venv is not complete: fix the error above, then run the same command again" >&2
    exit 2
}
rm -rf "$venv"
mkdir -p "$venv"
if command -v uv >/dev/null; then
    {
        uv venv --quiet --clear --python "$python" "$venv" &&
            uv pip install --quiet --python "$venv/bin/python" --require-hashes -r requirements.txt &&
            uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .
    } || failed
else
    pip=("$venv/bin/pip" install -qq --disable-pip-version-check)
    {
        "$python" -m venv "$venv" &&
            "${pip[@]}" --require-hashes -r requirements.txt &&
            "${pip[@]}" --no-deps --no-build-isolation -e .
    } || failed
fi
{ echo "$want" >"$stamp.new" && mv "$stamp.new" "$stamp"; } || failed
