# Everything runs in .venv, which the first target that needs it creates.
# A fresh clone wants python3 (3.11 or later) and make, nothing else.

PYTHON ?= python3
JOBS ?= 2
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench docs refresh torture clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## Sell credits against the built-in Stripe simulator and show the wallet
	$(BIN)/credit-payments demo --headless

test: $(READY) ## Run all tests but the torture campaigns
# By file, so that tests which build on a module's server share one worker and keep their order.
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile $(PYTEST_ARGS)

check: $(READY) ## Run what takes seconds: lint, format, types, layers, quick unit tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile -m "not torture and not long" tests/unit $(PYTEST_ARGS)

format: $(READY) ## Sort imports and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(BENCH_READY) ## Measure on this machine
	$(BIN)/python -m benchmarks

docs: $(READY) ## Build the documentation into docs/_build; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html

refresh: $(READY) ## Write the generated parts of the documentation anew
	$(BIN)/python docs/_ext/generated.py

torture: $(READY) ## Run the long campaigns: crashes, races, many thousand examples
	HYPOTHESIS_PROFILE=torture $(BIN)/pytest --numprocesses $(JOBS) -m torture -o faulthandler_timeout=3600 $(PYTEST_ARGS)

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -rf .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The pip that Python 3.11 and 3.12 bring does not know dependency groups yet: hence the upgrade.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

# The library that is measured beside this one comes only with the benchmarks.
$(BENCH_READY): pyproject.toml $(READY)
	$(BIN)/python -m pip install --quiet --editable . --group bench
	touch $@
