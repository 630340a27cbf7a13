#!/usr/bin/env bash
# Makes the Python environment in .venv: exactly the versions and hashes of requirements.txt, then this checkout, editable.
# Done again only when requirements.txt or pyproject.toml changed.
set -euo pipefail
cd "$(dirname "$0")/.."

stamp=.venv/.made-from
want=$(cat requirements.txt pyproject.toml | sha256sum)
[ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ] && exit 0

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: $python is missing or older than Python 3.11; install one, or name it: make setup PYTHON=python3.12" >&2
    exit 2
fi

echo "setup: the Python environment in .venv"
rm -rf .venv
if command -v uv >/dev/null; then
    uv venv --quiet --python "$python" .venv
    VIRTUAL_ENV=$PWD/.venv uv pip install --quiet --require-hashes -r requirements.txt
    VIRTUAL_ENV=$PWD/.venv uv pip install --quiet --no-deps --no-build-isolation -e .
else
    "$python" -m venv .venv
    .venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements.txt
    .venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
echo "$want" > "$stamp"
