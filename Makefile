# `make` alone lists the targets. Everything is installed into .venv, nothing outside it.
SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.stamp
# The first interpreter that runs and is supported; `make setup PYTHON=/path/to/python` overrides.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$p && break; done)
# Pinned, build tools included: source distributions are built with them, not with whatever is newest.
INSTALL := -m pip --disable-pip-version-check --no-input install --quiet --no-build-isolation --constraint
TOOLS := setuptools wheel
PROJECT := pyproject.toml setup.py constraints.txt
# A process a core, but no more than memory allows; see tests/conftest.py for what runs together, and
# what begins.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup --no-loadscope-reorder --durations=15 --durations-min=10
# Passed on to the program: make fit ARGS="--epochs 3", make test ARGS="-k serving"
ARGS  ?=

.DEFAULT_GOAL := help
.PHONY: help setup fit test slow long mutants recbole rectools scann spark docs lint format clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## */  make \1\t/p' $(MAKEFILE_LIST)
	@echo '  Pass options on with ARGS, as in: make fit ARGS="--epochs 3 --seed 1"'

setup: $(STAMP)  ## make .venv and install the pinned packages

$(STAMP): $(PROJECT)
	@test -n "$(PYTHON)" || { echo "make setup: no Python 3.11, 3.12 or 3.13 found. Install one, or say which: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "make setup: $(PYTHON) is $$($(PYTHON) -V 2>&1), and 3.11, 3.12 and 3.13 are supported." >&2; exit 1; }
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "make setup: $(PYTHON) cannot make virtual environments, it lacks 'venv' or 'ensurepip'." >&2; \
			echo "On Debian and Ubuntu: apt-get install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'). Then run make again." >&2; exit 1; }; \
		echo "$(PYTHON) -m venv $(VENV)"; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@echo "Installing into $(VENV): the first time 3 GB and some minutes."
	$(BIN)/python $(INSTALL) constraints.txt $(TOOLS)
	$(BIN)/python $(INSTALL) constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip check
	@touch $@

fit: $(STAMP)  ## train on the embedded synthetic dataset
	$(BIN)/python -m tf_syncrec.fit --dataset synthetic $(ARGS)

test: lint  ## lint, types and tests
	$(PYTEST) -m 'not slow and not long' $(ARGS)

slow: $(STAMP)  ## the slower proofs, minutes each
	$(PYTEST) -m 'slow and not long' $(ARGS)

long: $(STAMP)  ## what is like another proof, for another network, say: by hand, before a release
	$(PYTEST) -m long $(ARGS)

mutants: $(STAMP)  ## break the program in many places and see a test notice; goes on where it was stopped
	$(BIN)/python -m tests.mutants.run $(ARGS)

recbole: .venv-recbole/.stamp  ## make .venv-recbole, for the baselines of RecBole

.venv-recbole/.stamp: requirements-recbole.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make recbole: needs Python 3.11: make recbole PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv-recbole
	.venv-recbole/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r requirements-recbole.txt
	.venv-recbole/bin/python -m pip check
	@touch $@

rectools: .venv-rectools/.stamp  ## make .venv-rectools, for those of RecTools

.venv-rectools/.stamp: requirements-rectools.txt
	$(PYTHON) -m venv --clear .venv-rectools
	.venv-rectools/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r requirements-rectools.txt
	.venv-rectools/bin/python -m pip check
	@touch $@

scann: .venv-scann/.stamp  ## make .venv-scann, for exports with ScaNN

.venv-scann/.stamp: $(PROJECT)
	$(PYTHON) -m venv --clear .venv-scann
	@# The extra pins the TensorFlow that ScaNN is built for, and what belongs to it.
	grep -vE '^(tensorboard|tensorflow|tensorflow-serving-api|tf_keras)==' constraints.txt > .venv-scann/constraints.txt
	.venv-scann/bin/python $(INSTALL) .venv-scann/constraints.txt $(TOOLS)
	.venv-scann/bin/python $(INSTALL) .venv-scann/constraints.txt --editable '.[dev,scann]'
	.venv-scann/bin/python -m pip check
	@touch $@

spark: $(VENV)/.spark  ## add pyspark to .venv, for --engine spark

$(VENV)/.spark: $(STAMP)
	$(BIN)/python $(INSTALL) constraints.txt --editable '.[dev,spark]'
	@touch $@

docs: $(VENV)/.docs  ## build docs/ as a site, with the API reference
	rm -rf docs/api docs/_build
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html
	@echo 'docs/_build/html/index.html'

$(VENV)/.docs: $(STAMP)
	$(BIN)/python $(INSTALL) constraints.txt --editable '.[dev,docs]'
	@touch $@

lint: $(STAMP)  ## ruff (lint and format), mypy and the order of imports, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP)  ## let ruff rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove .venv and every cache; runs/ and data stay
	rm -rf $(VENV) .venv-recbole .venv-rectools .venv-scann .venv-profile docs/_build docs/api build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
