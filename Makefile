# Two commands matter: `make book` and `make test`. The plain commands behind them are in the README.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
CODE := lib tests benchmarks
CHAPTERS := $(shell grep -l '{code-cell}' chapters/*.md)
CACHE := $(abspath $(or $(LMDYNAMICS_CACHE),.cache))
SCALE ?=# smoke, demo, desktop or thesis; empty for what each chapter says itself

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export LMBOOK_SCALE := $(SCALE)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help book notebook test lint types bench format clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

book: .venv/installed ## run every chapter and build the book; SCALE=desktop for hours instead of minutes
	@jupyter-book build . -W -n --keep-going -q >/dev/null
	@echo "The book: file://$(CURDIR)/_build/html/index.html"

notebook: .venv/installed ## open the chapters as notebooks in JupyterLab
	@LMDYNAMICS_CACHE="$(CACHE)" JUPYTER_CONFIG_PATH=$(CURDIR)/lib/lmbook/jupyter \
		jupyter lab chapters

test: lint types ## lint, check types, run the tests
	@pytest -q

lint: .venv/installed ## check style, of the chapters' code too
	@ruff check -q $(CODE)
	@ruff format -q --check $(CODE) || (echo "run: make format"; exit 1)
	@for chapter in $(CHAPTERS); do \
		jupytext -q --to ipynb -o - $$chapter | ruff check -q --ignore D --stdin-filename $$chapter.ipynb -; \
		jupytext -q --to ipynb -o - $$chapter | ruff format -q --diff --stdin-filename $$chapter.ipynb -; \
	done

types: .venv/installed ## check types
	@mypy --no-error-summary

format: .venv/installed ## lay out the code
	@ruff check -q --fix $(CODE)
	@ruff format -q $(CODE)

bench: .venv/installed ## measure speed beside the alternatives
	@python -m benchmarks

clean: ## remove the built book and the kept runs of chapters (trained models stay in .cache)
	@rm -rf _build "$(CACHE)/executed"

# Installed anew only when what is to be installed has changed.
.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || for python in python3 python3.12 python3.11; do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
			$$python -m venv .venv && exit; \
		fi; \
	done; test -x $(BIN)/python || { echo "need Python 3.11 or 3.12 as python3.12, python3.11 or python3, found none" >&2; exit 1; }
	@echo "Installing into .venv: about two minutes, two gigabytes" >&2
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[book,test]'
	@touch $@
