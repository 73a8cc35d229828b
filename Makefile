# make detect   set up, then find the objects in the sample photo
# make test     set up for tests, then run them; PYTEST_ARGS="tests/unit -k name" for some of them
# make lint     check the code's form
# make clean    remove the virtual environment and what tools left behind

PYTHON ?= python3
VENV ?= .venv
SAMPLE ?= models/samples/dog.jpg
PYTEST_ARGS ?=
export VENV

.PHONY: detect test lint setup setup-tests clean

detect: setup
	@$(VENV)/bin/clnn detect $(SAMPLE)

test: setup-tests
	@$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: setup
	@$(VENV)/bin/ruff check .

setup:
	@$(PYTHON) bootstrap.py

setup-tests:
	@$(PYTHON) bootstrap.py --tests

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
