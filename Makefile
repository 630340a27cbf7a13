# Everything a person types. `make demo` and `make test` need nothing but the checkout.
.DEFAULT_GOAL := help
.PHONY: help setup host demo stop test lint bench requirements

KITTEN := .venv/bin/kitten
PACKAGES ?=
ONLY ?=
PYTEST ?=

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

host: ## install the operating system's packages that are missing (Debian, Ubuntu; root or sudo)
	@tools/host-packages.sh demo

setup: ## make the Python environment in .venv
	@tools/setup.sh

demo: host setup ## build, prove, test and publish real packages on five targets (PACKAGES=all: six packages)
	@$(KITTEN) demo --packages '$(PACKAGES)'

stop: ## end everything `make demo` started
	@if [ -x $(KITTEN) ]; then $(KITTEN) down; else echo 'nothing runs: there is no .venv'; fi

test: setup ## run the tests, and set up what they need (PYTEST='-k name' for some)
	@tools/host-packages.sh test
ifeq ($(PYTEST),)
	@.venv/bin/python -m pytest -q -n 2 --ignore=tests/end_to_end
	@.venv/bin/python -m pytest tests/end_to_end
else
	@.venv/bin/python -m pytest $(PYTEST)
endif

lint: setup ## ruff, mypy, the rules of imports and patterns, yamllint, shellcheck
	@tools/host-packages.sh lint
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/python -m pytest -q tests/test_imports.py tests/test_patterns.py
	@.venv/bin/yamllint --strict .
	@git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck

bench: setup ## time us against the alternative, in the same run (ONLY=name for one)
	@tools/host-packages.sh test
	@.venv/bin/python -m tests.bench $(ONLY)

requirements: ## compile requirements.txt anew from pyproject.toml (needs uv)
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
		--python-version 3.11 --extra dev pyproject.toml -o requirements.txt
	@! grep -n '://' requirements.txt
