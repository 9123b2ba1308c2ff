# Every target does its own set-up: Python 3.11 or newer is all that must be there before.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: help demo test test-slow test-lowest mutate lint notebook clean

help:
	@echo "make demo       train on handwritten digits, export, serve, sample over HTTP, draw a picture"
	@echo "make test       run the tests"
	@echo "make test-slow  run the tests that take minutes as well"
	@echo "make test-lowest  run the tests on the lower bounds of pyproject.toml"
	@echo "make mutate     put small faults into the code, a sample of them, and see whether the tests notice: an hour or more"
	@echo "make lint       ruff and mypy"
	@echo "make clean      remove the virtual environment and the demo's output"

$(READY): pyproject.toml
	@echo "Setting up $(VENV): a minute or two, TensorFlow is large."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/tfpvae demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The oldest release that pyproject.toml allows of every package that it names. Matplotlib 3.9 uses names of pyparsing
# of which pyparsing 3.3 warns, and a warning is an error in the tests.
LOWEST := .venv-lowest
$(LOWEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/python -m uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		--editable ".[dev]" "pyparsing==3.2.0"
	touch $@

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

# Others: make mutate MUTATE="--target random", or MUTATE= for every mutant, which takes days.
MUTATE ?= --sample 40
mutate: $(READY)
	$(BIN)/python scripts/mutate.py $(MUTATE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(LOWEST) demo
