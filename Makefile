# The words of the house. Every word does its own set-up: a fresh machine needs python3 (>= 3.11), make, git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PEERS  := .venv-peers
PIP    := python -m pip install --quiet --disable-pip-version-check
# uv takes seconds where pip takes minutes; pip knows the index of a company, which uv may not
fetch   = $(BIN)/uv pip install --quiet --python $(1)/bin/python --require-hashes -r $(2) || \
          $(1)/bin/$(PIP) --no-deps --require-hashes -r $(2)
LOCKED := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help install demo judges test check format bench speed notebooks lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lesniva needs Python 3.11 or newer; found $$($(PYTHON) -V)"; exit 7; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock | $(BIN)/$(PIP) --require-hashes -r /dev/stdin
	$(call fetch,$(VENV),requirements.lock)
	$(BIN)/$(PIP) --no-deps --no-build-isolation -e .
	$(BIN)/python -c "from lesniva.demo import warm_up; warm_up()" # compiles the kernels once
	touch $(READY)

install: $(READY) ## make the virtual environment with the locked packages

demo: $(READY) ## forest alerts and a harvest forecast on the embedded synthetic archive
	$(BIN)/lesniva demo

judges: ## install QGIS, GDAL, PostGIS and Chromium, which judge the results in the tests (Debian, root)
	@tests/judges/install.sh

test: $(READY) judges ## the whole test suite, offline, warnings as errors
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder # a file on one worker: its archives are made once

check: $(READY) ## format, lint, types, import contracts, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@tests/judges/audit.sh $(BIN)/pip-audit requirements.lock

format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(PEERS)/.ready: tests/bench/peers.lock | $(READY)
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(call fetch,$(PEERS),tests/bench/peers.lock)
	touch $(PEERS)/.ready

bench: $(READY) $(PEERS)/.ready ## time the hot paths beside floor and peers (prints ratios, fails on nothing)
	$(BIN)/python -m pytest tests/bench -p no:xdist -p no:cacheprovider

speed: $(READY) ## a look at the same in some seconds, beside floors only (CI prints it, and fails on nothing slow)
	$(BIN)/python -m pytest tests/bench/test_bench_quick.py -q -p no:xdist -p no:cacheprovider --benchmark-only --benchmark-disable-gc

notebooks: demo ## run the notebooks on the demo, render them into docs/notebooks
	for script in notebooks/*.py; do \
	  $(BIN)/jupytext --quiet --to ipynb --output - $$script \
	    | $(BIN)/jupyter-nbconvert --stdin --execute --to notebook --stdout --log-level ERROR \
	    | $(BIN)/jupyter-nbconvert --stdin --to markdown --log-level ERROR --TagRemovePreprocessor.enabled=True \
	      --TagRemovePreprocessor.remove_all_outputs_tags="['interactive']" \
	      --output-dir docs/notebooks --output $$(basename $$script .py) || exit 1; \
	done

lock: $(READY) ## pin all packages anew
	$(BIN)/uv pip compile $(LOCKED) --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCKED) tests/bench/peers.in -o tests/bench/peers.lock

clean: ## remove what the words above made
	rm -rf $(VENV) $(PEERS) out work archive build dist .mypy_cache .ruff_cache .import_linter_cache
