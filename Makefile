# Penstock's commands. Everything goes into .venv here; a second call of any target does only what is left to do.
# PYTHON picks the interpreter for the environment; PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS and the like are respected.
SHELL := /bin/bash
# Packages are installed without bytecode (few of their files are ever imported): where none may be kept, every process compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
TESTS ?= not thorough

.PHONY: help quickstart story test lint types bench platforms container docs clean stop

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

quickstart: $(STAMP)  ## train, check, gate and serve a model on real data (4 to 6 minutes on two cores, plus 2 to install; again: seconds)
	@$(BIN)/python examples/quickstart.py

story: $(STAMP)  ## the closed loop from drift to roll-out, checked as it goes (SIZE=small: 14 minutes; the full one longer)
	@$(BIN)/python tools/system.py postgresql
	@$(BIN)/python examples/story/story.py $(or $(SIZE),full)

stop: $(STAMP)  ## stop what quickstart left serving
	@for example in banking77 docstrings shakespeare docstrings-text; do (cd examples/$$example && ../../$(BIN)/penstock down); done

test: $(STAMP)  ## install what tests need and run them (about 27 minutes on two cores, plus 2 to install; TESTS=thorough: the rest)
	@$(BIN)/python tools/system.py postgresql prometheus prometheus-alertmanager
	@echo "penstock: running the tests"
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "$(TESTS)" $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP)  ## every benchmark beside its peer, each peer in an environment of its own (more than half an hour the first time)
	@$(BIN)/python tools/system.py wrk
	@$(BIN)/python benchmarks/run.py

platforms: $(STAMP)  ## examples/banking77 on every platform, by emulators: trains, deploys, answers, leaves nothing (minutes; SIZE=full: the file as it stands)
	@$(BIN)/python tools/platforms.py $(or $(SIZE),small)

container: $(STAMP)  ## the image built by Dockerfile and by `penstock image build`, pushed to a registry, pulled, started (root on Debian; about 5 minutes alone)
	@$(BIN)/python tools/system.py buildah skopeo docker-registry debootstrap
	@$(BIN)/python tools/container.py

docs: $(STAMP)  ## check every link of the documentation
	@$(BIN)/python docs/build.py

clean:  ## remove environment, caches and build products (never .penstock state)
	rm -rf $(VENV) .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt tools/setup.py
	@$(PYTHON) tools/setup.py $(VENV)
	@touch $@
