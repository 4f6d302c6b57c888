# Two commands: `make demo` and `make test`. Both do all set-up; a second run installs nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-all lint setup clean
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pyro-models needs Python >= 3.11; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV): PyTorch is large, the first time takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pyro-models demo --out report --force

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One process a core, one thread each: small networks, those of the demonstration too, gain nothing
# from more.
TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: lint
	$(TESTS)

test-all: lint
	$(TESTS) -m ''

clean:
	rm -rf $(VENV) report runs *.egg-info
