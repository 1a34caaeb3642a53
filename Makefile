# `make demo` and `make test` work from a fresh clone; both start with `make setup`.
PYTHON ?= python3.12
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers; `make test PYTEST_ARGS=tests/plot` runs a part of the tests in one process.
PYTEST_ARGS ?= -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint tutorials tutorials-fast figures docs clean

help:
	@echo "make demo   fit the lens that ships with the package (about two minutes)"
	@echo "make test   lint and tests"
	@echo "make tutorials  run the tutorials and store their notebooks"
	@echo "make tutorials-fast  run their scripts on little, without storing anything"
	@echo "make figures  take the figures of README and documentation out of the notebooks"
	@echo "make docs   build the documentation into docs/_build/html"
	@echo "make setup  only create $(VENV) and install"
	@echo "make clean  remove $(VENV) and the outputs of fits"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "setup: creating $(VENV) with $(PYTHON) and installing autolens_ml (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: setup
	@echo "demo: autolens-ml demo"
	@$(BIN)/autolens-ml demo

lint: setup
	@echo "lint: ruff check and ruff format --check"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

test: lint
	@echo "test: pytest"
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

tutorials: setup
	@echo "tutorials: python -m howtolens_ml.build"
	@$(BIN)/python -m howtolens_ml.build $(TUTORIALS)

tutorials-fast: setup
	@echo "tutorials-fast: python -m howtolens_ml.build --fast"
	@$(BIN)/python -m howtolens_ml.build --fast $(TUTORIALS)

figures: setup
	@echo "figures: python -m howtolens_ml.build --figures"
	@$(BIN)/python -m howtolens_ml.build --figures $(TUTORIALS)

docs: setup
	@echo "docs: sphinx-build"
	@$(BIN)/sphinx-build -q -W -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

clean:
	rm -rf $(VENV) output docs/_build docs/_generated .pytest_cache .ruff_cache
