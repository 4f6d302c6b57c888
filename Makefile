# Two commands, `make demo` and `make test`, and `make docs`. All do all set-up; a second run installs nothing.
# `make demo PYTHON=python3.13` takes that Python, and makes the environment anew if it is of another.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

OLDEST := $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)

# Which Python an environment is of; empty where there is none that runs and can install.
WHICH  := import sys; print(sys.version.split()[0], "in", sys.base_prefix)
HAS    := $(shell $(BIN)/python -c 'import pip; $(WHICH)' 2>/dev/null)
ASKED  := $(if $(filter file,$(origin PYTHON)),$(HAS),$(shell $(PYTHON) -c '$(WHICH)' 2>/dev/null))
ifneq ($(HAS),$(or $(ASKED),none))
ANEW   := anew
endif

.PHONY: demo docs test test-all suite lint dist setup clean anew
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml $(ANEW)
ifdef ANEW
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' || \
	  { echo "pyro-models needs Python >= $(OLDEST); name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV)$(if $(HAS), anew (it was of Python $(HAS))): PyTorch is large, the first time takes some minutes"
	$(PYTHON) -m venv $(if $(wildcard $(VENV)/pyvenv.cfg),--clear )$(VENV)
endif
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pyro-models demo --out report --force

# The documentation site, site/index.html: a warning, a reference or a link within it that leads
# nowhere ends the build.
docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -q -W --keep-going -c docs -b html . site
	@echo "the documentation is site/index.html"

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One process a core, one thread each: small networks, those of the demonstration too, gain nothing
# from more.
TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: lint
	$(TESTS)

suite: $(STAMP)
	$(TESTS)

test-all: lint
	$(TESTS) -m ''

# The sdist and the wheel in dist/, each tried in an environment of its own.
dist: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python .ci/dist.py

clean:
	rm -rf $(VENV) report runs site jupyter_execute dist build *.egg-info
