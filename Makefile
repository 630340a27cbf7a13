# Everything that a person types. `make demo` and `make test` need nothing but the checkout.
.DEFAULT_GOAL := help
# Tests start thousands of short commands. Without compiled files each compiles what it imports, and pytest each test.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup host demo stop clean test test-quick test-long test-pythons format lint docs man news bench requirements

KITTEN := .venv/bin/kitten
PACKAGES ?=
FORCE ?=
ONLY ?=
YES ?=
PYTEST ?=
# A file's tests run one after another in one process: they share a master, keys and packages. In the order of the files,
# for the longest, the end-to-end tests, come early and leave no processor idle at the end.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
VERSION ?=

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

host: ## install the operating system's packages that are missing (Debian, Ubuntu; root or sudo)
	@tools/host-packages.sh demo

# The operating system's packages come first in each target: the environment is made with some of them.
setup: ## make the Python environment in .venv, and install what it needs (PYTHON=/path/to/python3 to choose)
	@tools/host-packages.sh setup
	@tools/setup.sh

demo: host ## build, prove, test and publish real packages on five targets (PACKAGES=all: six packages; FORCE=1: whatever the host lacks)
	@tools/setup.sh
	@$(KITTEN) demo --packages '$(PACKAGES)' $(if $(FORCE),--force)

stop: ## end everything `make demo` started
	@if [ -x $(KITTEN) ]; then $(KITTEN) down; else echo 'nothing runs: no .venv'; fi

clean: ## show the caches, the state folders, build/ and .venv with their sizes, and remove them (YES=1: without a question)
	@python3 tools/clean.py $(if $(YES),--yes)

test: ## run the tests, and set up what they need (PYTEST='-k name' for some)
	@tools/host-packages.sh test
	@tools/setup.sh
ifeq ($(PYTEST),)
	@.venv/bin/python -m pytest -q $(PARALLEL)
else
	@.venv/bin/python -m pytest $(PYTEST)
endif

test-quick: ## run the tests that need no sandbox, guest, service or browser and are not slow, while you work
	@tools/host-packages.sh demo
	@tools/setup.sh
	@.venv/bin/python -m pytest -q $(PARALLEL) --quick

test-long: ## run the tests of properties with ten times the examples, as before a release
	@tools/host-packages.sh test
	@tools/setup.sh
	@HYPOTHESIS_PROFILE=long .venv/bin/python -m pytest -q $(PARALLEL) -m hypothesis

format: ## format the Python code (ruff)
	@tools/setup.sh
	@.venv/bin/ruff check --fix -q --select I
	@.venv/bin/ruff format

lint: ## ruff, mypy, the layers, the rules of patterns, the words and links of the documentation, yamllint, shellcheck
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

docs: man ## make the documentation's site in build/docs, and check its links (--strict)
	@.venv/bin/mkdocs build --strict
	@echo 'build/docs/index.html'

man: ## make the manual page build/man/kitten.1 from the commands' help
	@tools/setup.sh
	@.venv/bin/python tools/man.py build/man/kitten.1
	@echo 'build/man/kitten.1'

news: ## show the next release's section of CHANGELOG.md, from changes/ (VERSION=1.2.3: write it there)
	@tools/setup.sh
	@.venv/bin/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

bench: ## time us against the alternative, in the same run (ONLY='name …' for some; ONLY=--list lists them)
	@tools/host-packages.sh bench
	@tools/setup.sh
	@.venv/bin/python -m tests.bench $(ONLY)

requirements: ## compile requirements.txt from pyproject.toml, and check it for each supported Python and architecture
	@tools/host-packages.sh setup
	@tools/requirements.sh

test-pythons: ## run the quick tests on each supported Python that is found (KITTEN_PYTHONS=PATH:PATH for further ones)
	@tools/host-packages.sh demo
	@tools/setup.sh
	@.venv/bin/python tools/test_pythons.py
