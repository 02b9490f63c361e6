# Two commands are enough: `make demo` and `make test`. Both create the environment when needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Number of worker processes for the tests.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format wheel clean

help:
	@echo "make demo     from nothing to a trained network and its ROC curve (about 10 minutes on 2 cores)"
	@echo "make test     style, types and tests"
	@echo "make install  only the environment ($(VENV))"
	@echo "make wheel    build the wheel and the source archive into dist/"
	@echo "make format   put the code into its canonical form"
	@echo "make clean    remove the environment and everything that was built"

install: $(STAMP)

# Reinstalls only when the dependencies change.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python >= 3.11 is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing into $(VENV): about 4 GB, some minutes, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -e '.[all]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m smartbkg_tf.train +experiment=quickstart

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(STAMP)
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
