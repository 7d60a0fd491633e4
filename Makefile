# Two commands do everything: `make run` opens the app, `make test` runs every test. Both set up what they need.
PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The versions that everything was tested with; without them: make CONSTRAINTS=
CONSTRAINTS ?= --constraint constraints.txt
PYTEST_ARGS ?=
# Tests start hundreds of Python processes. Where bytecode isn't kept, each would compile the same files again.
unexport PYTHONDONTWRITEBYTECODE
# Tests share nothing but conversions, so they run side by side, at most 8 (each may load a model). One process more than
# there are cores: some wait for processes, servers and a browser.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
PYTEST := HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal --durations 15

.PHONY: help run setup setup-dev test test-fast coverage test-ray check format bench evidence docs constraints clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# What can't be prepared is missing on some pages alone, which say so; Ctrl-C (130) means: don't open it.
run: setup  ## set up, convert the bundled teacher once, open the app (PORT=8501)
	@$(BIN)/ctkd prepare || { made=$$?; [ $$made -ne 130 ] && echo "Going on without what couldn't be prepared."; }
	$(BIN)/ctkd app --port $(PORT)

setup: .venv/.installed  ## make .venv with everything the product needs

setup-dev: .venv/.installed-dev  ## the same plus development tools and a browser

# Both models are converted side by side, each in one process; what Gemma's says is shown only where it fails. Where single
# parts of the other can't be prepared (2), the tests that need them say so.
test: setup-dev  ## every test, the browser ones included
	@mkdir -p .ctkd/tests
	CTKD_HOME=.ctkd/tests $(BIN)/ctkd prepare gemma --accept-terms >.ctkd/gemma.log 2>&1 & gemma=$$!; \
	trap 'kill $$gemma 2>/dev/null' INT TERM; \
	CTKD_HOME=.ctkd/tests $(BIN)/ctkd prepare; made=$$?; \
	wait $$gemma || { cat .ctkd/gemma.log; echo "Going on without Gemma: its tests are skipped."; }; \
	[ $$made -eq 2 ] || exit $$made
	$(PYTEST) $(PYTEST_ARGS)

test-fast: setup-dev  ## without the slow and the browser tests
	$(PYTEST) -m "not slow and not browser" $(PYTEST_ARGS)

coverage: setup-dev  ## which share of ctkd_core the tests reach, at least 92 %; slow before Python 3.12
	$(BIN)/coverage erase
	COVERAGE_CORE=$${COVERAGE_CORE-sysmon} HF_HUB_OFFLINE=1 $(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-ray: setup-dev  ## measuring a corpus on two local Ray nodes, one of which is killed (installs Ray)
	$(PIP) install --quiet $(CONSTRAINTS) --editable '.[ray]'
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/pair/corpora/test_on_ray.py $(PYTEST_ARGS)

check: setup-dev  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup-dev  ## every benchmark (but the GPU session's, fuzz.py and mutants.py), results under benchmarks/results
	for script in $$(ls benchmarks/*.py | grep -vE '/(gpu_|fuzz|mutants)'); do $(BIN)/python $$script || exit 1; done

# What has a result isn't run again, unless AGAIN=1 asks for it; stopped, the same command goes on.
evidence: setup  ## the small experiments; NAME=first-look: that one, MINUTES=5: begin no run later, AGAIN=1: do it again
	$(BIN)/ctkd prepare || [ $$? -eq 2 ]
	$(BIN)/python -m experiments run $(NAME) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(AGAIN),--again)

docs: setup  ## the documentation as a site in build/site
	$(PIP) install --quiet $(CONSTRAINTS) --editable '.[docs]'
	$(BIN)/mkdocs build --strict --site-dir build/site

# Everything anew at its newest version, then written down; run the tests before you commit it.
constraints: .venv/bin/python  ## bring constraints.txt up to date
	$(PIP) install --quiet --upgrade --upgrade-strategy eager --editable '.[dev,docs]'
	{ sed -n '/^#/p' constraints.txt; $(PIP) freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu$$//'; } >constraints.new && mv constraints.new constraints.txt

clean:  ## remove what the commands above made here (not your runs)
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .ctkd

# Debian ships Python without venv; as root the package is installed, else the command to type is shown.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "CTKD Lab needs Python 3.11 or newer; set PYTHON=python3.12, for example."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else echo "Python's venv module is missing: sudo apt-get install python3-venv, then again."; exit 1; fi; }
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.txt requirements-teacher.txt constraints.txt pyproject.toml | .venv/bin/python
	$(PIP) install --quiet $(CONSTRAINTS) --requirement requirements.txt
	$(PIP) install --quiet --no-deps --requirement requirements-teacher.txt
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) install --quiet $(CONSTRAINTS) --editable '.[dev]'
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && \
	    { apt-get install -y -qq chromium-headless-shell || apt-get install -y -qq chromium; }; \
	  else echo "The browser tests need Chromium: sudo apt-get install chromium-headless-shell, then again."; exit 1; fi; }
	@touch $@
