# `make` alone lists the targets. Everything is installed into .venv, nothing outside it.
SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.stamp
# The first interpreter that runs and is new enough; `make setup PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
PIP   := $(BIN)/python -m pip --disable-pip-version-check --no-input
# A process a core, but no more than memory allows; see tests/conftest.py for what runs together.
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup --durations=15 --durations-min=10
# Passed on to the program: make fit ARGS="--epochs 3", make test ARGS="-k serving"
ARGS  ?=

.DEFAULT_GOAL := help
.PHONY: help setup fit test slow recbole scann spark docs lint format clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## */  make \1\t/p' $(MAKEFILE_LIST)
	@echo '  Pass options on with ARGS, as in: make fit ARGS="--epochs 3 --seed 1"'

setup: $(STAMP)  ## make .venv and install the pinned packages

$(STAMP): requirements.txt setup.py
	@test -n "$(PYTHON)" || { echo "make setup: no Python 3.11 or newer found. Install one, or say which: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "make setup: $(PYTHON) cannot make virtual environments, it lacks 'venv' or 'ensurepip'." >&2; \
			echo "On Debian and Ubuntu: apt-get install python3.11-venv. Then run make again." >&2; exit 1; }; \
		echo "$(PYTHON) -m venv $(VENV)"; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@# The pinned build tools come first: source distributions are then built with them, not with whatever is newest.
	$(PIP) install --quiet $$(grep -E '^(setuptools|wheel)==' requirements.txt)
	$(PIP) install --quiet --no-build-isolation -r requirements.txt
	$(PIP) install --quiet --no-build-isolation --no-deps -e .
	$(PIP) check
	@touch $@

fit: $(STAMP)  ## train on the embedded synthetic dataset
	$(BIN)/python -m tf_syncrec.fit --dataset synthetic $(ARGS)

test: lint  ## lint, types and tests
	$(PYTEST) -m 'not slow' $(ARGS)

slow: $(STAMP)  ## the slower proofs, minutes each
	$(PYTEST) -m slow $(ARGS)

recbole: .venv-recbole/.stamp  ## make .venv-recbole, for the baselines of RecBole

.venv-recbole/.stamp: requirements-recbole.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make recbole: needs Python 3.11: make recbole PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv-recbole
	.venv-recbole/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r requirements-recbole.txt
	.venv-recbole/bin/python -m pip check
	@touch $@

scann: .venv-scann/.stamp  ## make .venv-scann, for exports with ScaNN

.venv-scann/.stamp: requirements.txt requirements-scann.txt setup.py
	$(PYTHON) -m venv --clear .venv-scann
	@# requirements.txt, less what requirements-scann.txt pins otherwise.
	awk -F== 'NR == FNR { other[$$1]; next } !($$1 in other)' requirements-scann.txt requirements.txt > .venv-scann/requirements.txt
	.venv-scann/bin/python -m pip --disable-pip-version-check --no-input install --quiet $$(grep -E '^(setuptools|wheel)==' requirements.txt)
	.venv-scann/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-build-isolation -r .venv-scann/requirements.txt -r requirements-scann.txt
	.venv-scann/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-build-isolation --no-deps -e .
	.venv-scann/bin/python -m pip check
	@touch $@

spark: $(VENV)/.spark  ## add pyspark to .venv, for --engine spark

$(VENV)/.spark: $(STAMP) requirements-spark.txt
	$(PIP) install --quiet --no-build-isolation -r requirements-spark.txt
	@touch $@

docs: $(VENV)/.docs  ## build docs/ as a site, with the API reference
	rm -rf docs/api docs/_build
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html
	@echo 'docs/_build/html/index.html'

$(VENV)/.docs: $(STAMP) requirements-docs.txt
	$(PIP) install --quiet --no-build-isolation -r requirements-docs.txt
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
	rm -rf $(VENV) .venv-recbole .venv-scann .venv-profile docs/_build docs/api build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
