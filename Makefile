# The commands for users and developers. `make demo` and `make test` need only the checkout.
.DEFAULT_GOAL := help
# Tests start thousands of short commands. Without compiled files, each command compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup host demo stop clean test test-quick test-long test-pythons
.PHONY: format lint docs man news bench requirements

KITTEN := .venv/bin/kitten
PACKAGES ?=
FORCE ?=
ONLY ?=
YES ?=
PYTEST ?=
# The tests of one file run one after another in one process: they share a master, keys and packages. Files run in
# order: the longest, the end-to-end tests, come early, so that no processor is idle at the end.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
VERSION ?=

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

host: ## install missing packages of the operating system (Debian, Ubuntu; root or sudo)
	@tools/host-packages.sh demo

# The operating system's packages come first in each target: the environment is made with some of them.
setup: ## make the Python environment in .venv, and install its packages (PYTHON=/path/to/python3 to choose)
	@tools/host-packages.sh setup
	@tools/setup.sh

demo: host ## build, verify, test and publish packages on five targets (PACKAGES=all: six; FORCE=1: ignore shortages)
	@tools/setup.sh
	@$(KITTEN) demo --packages '$(PACKAGES)' $(if $(FORCE),--force)

stop: ## end the service that `make demo` started
	@if [ -x $(KITTEN) ]; then $(KITTEN) down; else echo 'nothing runs: no .venv'; fi

clean: ## show caches, state folders, build/ and .venv with their sizes; remove them (YES=1: do not ask)
	@python3 tools/clean.py $(if $(YES),--yes)

test: ## install what the tests need, and run them (PYTEST='-k name' for some)
	@tools/host-packages.sh test
	@tools/setup.sh
ifeq ($(PYTEST),)
	@.venv/bin/python -m pytest -q $(PARALLEL)
else
	@.venv/bin/python -m pytest $(PYTEST)
endif

test-quick: ## run the quick tests, which need no sandbox, guest, service or browser
	@tools/host-packages.sh demo
	@tools/setup.sh
	@.venv/bin/python -m pytest -q $(PARALLEL) --quick

test-long: ## run the property tests with ten times the examples, as before a release
	@tools/host-packages.sh test
	@tools/setup.sh
	@HYPOTHESIS_PROFILE=long .venv/bin/python -m pytest -q $(PARALLEL) -m hypothesis

format: ## format the Python code (ruff)
	@tools/setup.sh
	@.venv/bin/ruff check --fix -q --select I
	@.venv/bin/ruff format

lint: ## check code, types, layers, patterns, YAML, shell scripts, and the words and links of the documentation
	@tools/host-packages.sh lint
	@tools/setup.sh
	@.venv/bin/ruff format --check -q
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache
	@.venv/bin/python -m pytest -q tests/test_patterns.py tests/test_documentation.py
	@.venv/bin/python tools/prose.py
	@.venv/bin/yamllint --strict .
	@git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck

docs: man ## make the site of the documentation in build/docs, and check its links
	@.venv/bin/mkdocs build --strict
	@echo 'build/docs/index.html'

man: ## make the manual page build/man/kitten.1 from the help of the commands
	@tools/setup.sh
	@.venv/bin/python tools/man.py build/man/kitten.1
	@echo 'build/man/kitten.1'

news: ## show the next section of CHANGELOG.md, from changes/ (VERSION=1.2.3: write it)
	@tools/setup.sh
	@.venv/bin/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

bench: ## time kitten against the alternatives in the same run (ONLY='name …' for some; ONLY=--list lists them)
	@tools/host-packages.sh bench
	@tools/setup.sh
	@.venv/bin/python -m tests.bench $(ONLY)

requirements: ## compile requirements.txt from pyproject.toml, and check it for each supported Python and architecture
	@tools/host-packages.sh setup
	@tools/requirements.sh

test-pythons: ## run the tests without a sandbox, guest, service or browser on each supported Python (KITTEN_PYTHONS=PATH:PATH for more)
	@tools/host-packages.sh demo
	@tools/setup.sh
	@.venv/bin/python tools/test_pythons.py
