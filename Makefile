# Each target makes .venv first if it is missing; nothing else has to be installed by hand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints/cpu.txt

.PHONY: help setup demo test check format bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.installed  ## make .venv with everything pinned

$(VENV)/.installed: constraints/cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "headsmith needs Python 3.11 or later; found " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	@echo "Installing into $(VENV): a few minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: setup  ## prune a real model to half its FLOPs and show before and after
	$(BIN)/headsmith demo

test: setup  ## run the tests and every example in the docs
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: setup  ## lint, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## time ours beside Transformers 4.34.0 and write benchmarks/out
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

clean:  ## remove environments, caches and what the commands wrote
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo-out benchmarks/out

# Other environments than .venv, each with everything pinned by the file of its name.
.PHONY: test-oldest test-newest test-restored test-wheel newest
OTHER := .venv-oldest/.installed .venv-newest/.installed
SUITE := -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

$(OTHER): .venv-%/.installed: constraints/%.txt pyproject.toml
	@echo "Installing into .venv-$*: a few minutes the first time."
	@$(PYTHON) -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< hatchling editables
	@.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< --no-build-isolation --editable '.[dev]'
	@touch $@

test-oldest: .venv-oldest/.installed  ## run the tests with the oldest of everything that is supported
	.venv-oldest/bin/python $(SUITE)

test-newest: .venv-newest/.installed  ## run the tests with the newest of everything
	.venv-newest/bin/python $(SUITE)

newest:  ## pin the newest of everything anew, in constraints/newest.txt
	@$(PYTHON) -m venv --clear .venv-newest
	@.venv-newest/bin/python -m pip --disable-pip-version-check install --quiet torch==2.13.0 '.[dev]'
	@{ sed -n '/^#/p' constraints/newest.txt; .venv-newest/bin/python -m pip --disable-pip-version-check freeze --all \
		--exclude headsmith --exclude pip | sed 's/+cpu$$//'; } > constraints/newest.tmp
	@mv constraints/newest.tmp constraints/newest.txt

test-restored: setup  ## run the tests while headsmith.compat.restore() is on
	$(BIN)/python $(SUITE) -p headsmith.compat.auto

test-wheel: setup  ## build wheel and sdist, install them elsewhere and use them from there
	$(BIN)/python tests/check_wheel.py
