# One verb for each job, the same for people and for CI. `make help` lists them.
# GNU Make 3.81 and newer. PYTHON= names the interpreter of a new environment, VENV= its folder.

VENV ?= .venv
LOWEST_VENV ?= .venv-lowest
FRAMEWORKS := livekit openai pipecat
BENCH_VENV ?= benchmarks/.venvs/runner
MICRO_VENV ?= benchmarks/.venvs/micro
ARGS ?=
# So many tests run at a time: most of them wait. Those marked `alone` have the machine for themselves, at the end.
JOBS ?= 4
PYTEST := bin/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder
BOT ?= assistant

# What an interpreter must be able to do. A name on PATH may be a shim that doesn't run: so try it.
USABLE := import ensurepip, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	if $$p -c '$(USABLE)' >/dev/null 2>&1; then echo $$p; break; fi; done)

# Stamps: an environment is brought up to date whenever pyproject.toml is newer than its stamp.
LEAN := $(VENV)/.stamp-lean
DEV := $(VENV)/.stamp-dev
DOCS := $(VENV)/.stamp-docs
LOWEST := $(LOWEST_VENV)/.stamp-lowest
BENCH := $(BENCH_VENV)/.stamp-bench
MICRO := $(MICRO_VENV)/.stamp-micro
# An environment whose interpreter is gone (a link that leads nowhere) has to be made anew: its stamps don't count.
$(shell for v in $(VENV) $(LOWEST_VENV) $(BENCH_VENV) $(MICRO_VENV); do [ -e $$v/bin/python ] || rm -f $$v/.stamp-*; done)
PIP := bin/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help lint type format test test-lowest test-frameworks $(FRAMEWORKS:%=test-%) conformance demo console docs pictures bench bench-quick bench-micro clean
# Two installs into one environment must not run at once, not even under `make -j`.
.NOTPARALLEL:

help: ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo "Each makes what it needs in $(VENV). PYTHON=, VENV= and, for the tests, ARGS= and JOBS= are yours to set."

lint: type $(DEV) ## types, style, format, and that version and changelog agree
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python scripts/check_version.py

type: $(DEV) ## check the types of src and tests
	$(VENV)/bin/python -m mypy

format: $(DEV) ## rewrite the code in the house format
	$(VENV)/bin/python -m ruff check --fix-only .
	$(VENV)/bin/python -m ruff format .

test: $(DEV) ## run the tests (ARGS="-k flush" for some of them)
	$(VENV)/$(PYTEST) $(ARGS)

test-lowest: $(LOWEST) ## run the tests on the lowest dependency versions that pyproject.toml allows
	$(LOWEST_VENV)/$(PYTEST) $(ARGS)

test-frameworks: $(FRAMEWORKS:%=test-%) ## the same for each framework, whose lowest versions don't go together

# In an environment for each.
$(FRAMEWORKS:%=test-%): test-%: $(LOWEST_VENV)-%/.stamp
	$(LOWEST_VENV)-$*/$(PYTEST) tests/integrations/*$** $(ARGS)

conformance: $(DEV) ## run the Autobahn test suite against the WebSocket protocol classes
	$(VENV)/bin/python scripts/conformance.py $(ARGS)

demo: $(LEAN) ## let a simulated session talk to an assistant on a real server, and print the conversation
	$(VENV)/bin/python examples/demo.py

console: $(LEAN) ## serve the assistant with a page to talk to it, and print the link (BOT=parrot: the parrot)
	$(VENV)/bin/vonage-audio-connector talk examples/$(BOT).py:app --no-open $(ARGS)

docs: $(DOCS) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict
	@echo "Open site/index.html"

pictures: $(DEV) ## take the pictures of the documentation anew, in a real browser
	UPDATE_PICTURES=1 $(VENV)/bin/python -m pytest tests/console/test_browser.py tests/test_fifty_calls.py $(ARGS)

bench: $(BENCH) ## compare with other libraries, an hour on a quiet machine (ARGS="--rows a,b")
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

bench-quick: $(BENCH) ## the three most telling comparisons, in about a minute
	$(BENCH_VENV)/bin/python -m benchmarks --quick $(ARGS)

bench-micro: $(MICRO) ## time single parts: framing, session, texts, protocol classes, a connection without a socket
	$(MICRO_VENV)/bin/python -m pytest benchmarks/micro --benchmark-columns=min,median,rounds $(ARGS)

clean: ## remove the environments and everything that was built
	rm -rf .venv .venv-* benchmarks/.venvs .benchmarks build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(LEAN): pyproject.toml $(VENV)/bin/python
	@echo "Installing the package and what its demo needs into $(VENV)"
	@$(VENV)/$(PIP) -e '.[cli,demo,examples]'
	@touch $@

# The development environment has all that the demo needs: it renews both stamps.
$(DEV): pyproject.toml $(VENV)/bin/python
	@echo "Installing the package and the development tools into $(VENV)"
	@$(VENV)/$(PIP) -e '.[dev]'
	@touch $(LEAN) $@

$(DOCS): pyproject.toml $(VENV)/bin/python
	@echo "Installing the documentation tools into $(VENV)"
	@$(VENV)/$(PIP) -e '.[docs]'
	@touch $@

$(LOWEST): pyproject.toml scripts/lowest.py $(LOWEST_VENV)/bin/python
	@echo "Installing the package with the lowest versions it allows into $(LOWEST_VENV)"
	@$(LOWEST_VENV)/bin/python scripts/lowest.py audio cli demo examples fast speech testing vonage test > $(LOWEST_VENV)/lowest.txt
	@$(LOWEST_VENV)/$(PIP) -c $(LOWEST_VENV)/lowest.txt -e '.[test]'
	@touch $@

.PRECIOUS: $(LOWEST_VENV)-%/.stamp %/bin/python
$(LOWEST_VENV)-%/.stamp: pyproject.toml scripts/lowest.py $(LOWEST_VENV)-%/bin/python
	@echo "Installing the package with the lowest version of $* that it allows into $(LOWEST_VENV)-$*"
	@$(LOWEST_VENV)-$*/bin/python scripts/lowest.py $* testing > $(LOWEST_VENV)-$*/lowest.txt
	@$(LOWEST_VENV)-$*/$(PIP) -c $(LOWEST_VENV)-$*/lowest.txt -e '.[examples,fast,speech,testing,$*]' \
		hypothesis pytest-timeout pytest-xdist trustme
	@touch $@

# The runner makes the environments of those that are compared.
$(BENCH): benchmarks/requirements/runner.txt $(BENCH_VENV)/bin/python
	@echo "Installing the benchmark's runner into $(BENCH_VENV)"
	@$(BENCH_VENV)/$(PIP) -r $<
	@touch $@

$(MICRO): pyproject.toml $(wildcard benchmarks/requirements/*.txt) $(MICRO_VENV)/bin/python
	@echo "Installing the package and pytest-benchmark into $(MICRO_VENV)"
	@$(MICRO_VENV)/$(PIP) -r benchmarks/requirements/micro.txt
	@touch $@

# A folder that isn't an environment is never cleared.
%/bin/python:
	@python="$(PYTHON)"; \
	if ! "$$python" -c '$(USABLE)' >/dev/null 2>&1; then \
		echo "Python 3.11 or newer, with venv and ssl, is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	echo "Making $* with $$("$$python" -V)"; \
	if [ -f "$*/pyvenv.cfg" ]; then clear=--clear; fi; \
	"$$python" -m venv $$clear "$*" || { rm -f "$@"; exit 1; }
