# Two commands on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: env demo up test check format

env: $(STAMP)

demo: env  ## a small experiment from start to figure, in some minutes
	$(BIN)/python -m deploy.demo

up: env  ## local mode, until Ctrl-C: http://127.0.0.1:8000
	$(BIN)/python -m deploy.local up

test: check  ## everything that CI runs
	$(BIN)/python -m pytest

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch by itself first: the resolver then takes it as given. The stamp comes last, so that an
# installation that broke off is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Hubel needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)
