# Each target makes .venv first if it is missing; nothing else has to be installed by hand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints/cpu.txt

.PHONY: help setup demo test coverage soak check audit format bench docs clean

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

coverage: setup  ## run the tests and fail below 95% of lines and branches
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --cov=headsmith

soak: setup  ## a thousand rounds of prune, save and load: nothing may be left behind
	HEADSMITH_SOAK_ROUNDS=1000 $(BIN)/python -m pytest tests/hardening/test_soak.py

check: setup audit  ## lint, format, types, direction of imports, known faults in what is pinned
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit:  ## ask for known faults in what is pinned; AUDIT=strict fails if nobody can say
	@test -d .venv-audit || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip --disable-pip-version-check install --quiet --requirement constraints/audit.txt
	.venv-audit/bin/python .ci/audit.py constraints/*.txt

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## time ours beside Transformers 4.34.0 and write benchmarks/out
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

docs: setup  ## build the documentation into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -n -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:  ## remove environments, caches and what the commands wrote
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo-out benchmarks/out docs/_build

# Other environments than .venv, each with everything pinned by the file of its name.
.PHONY: test-oldest test-newest test-late test-restored test-wheel newest
OTHER := .venv-oldest/.installed .venv-newest/.installed
SUITE := -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

$(OTHER): .venv-%/.installed: constraints/%.txt pyproject.toml
	@echo "Installing into .venv-$*: a few minutes the first time."
	@$(PYTHON) -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< hatchling editables
	@.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --constraint $< --no-build-isolation --editable '.[dev]'
	@touch $@

.venv-late/.installed: constraints/late.txt pyproject.toml
	@echo "Installing into .venv-late: a few minutes the first time."
	@$(PYTHON) -m venv --clear .venv-late
	@.venv-late/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@.venv-late/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

test-oldest: .venv-oldest/.installed  ## run the tests with the oldest of everything that is supported
	.venv-oldest/bin/python $(SUITE)

test-newest: .venv-newest/.installed  ## run the tests with the newest of everything
	.venv-newest/bin/python $(SUITE)

LATE := tests/compat tests/torch tests/spec src/headsmith/compat src/headsmith/torch \
	src/headsmith/spec docs/migrating.md
test-late: .venv-late/.installed  ## run the tests of what works on the last Transformers 4
	.venv-late/bin/python $(SUITE) $(LATE)

newest:  ## pin the newest of everything anew, in constraints/newest.txt
	@$(PYTHON) -m venv --clear .venv-newest
	@.venv-newest/bin/python -m pip --disable-pip-version-check install --quiet torch==2.13.0 '.[dev]'
	@{ sed -n '/^#/p' constraints/newest.txt; .venv-newest/bin/python -m pip --disable-pip-version-check freeze --all \
		--exclude headsmith --exclude pip | sed 's/+cpu$$//'; } > constraints/newest.tmp
	@mv constraints/newest.tmp constraints/newest.txt

# docs/faq.md shows what native models do where it is off.
test-restored: setup  ## run the tests while headsmith.compat.restore() is on
	$(BIN)/python $(SUITE) -p headsmith.compat.auto --ignore docs/faq.md

test-wheel: setup  ## build wheel and sdist, install them elsewhere and use them from there
	$(BIN)/python tests/check_wheel.py
