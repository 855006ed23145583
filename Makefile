# Two commands matter: `make book` and `make test`. The plain commands behind them are in the README.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
PYTHONS := python3.13 python3.12 python3.11
CODE := lib tests benchmarks hatch_build.py
CHAPTERS := $(shell grep -l '{code-cell}' chapters/*.md)
SCALE ?=# smoke, demo, desktop, gpu or thesis; empty for what each chapter says itself

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export LMBOOK_SCALE := $(SCALE)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help book record notebook test lint types bench format clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

book: .venv/installed ## build the book, at once from recorded results, then by runs; SCALE=desktop for nights
	@python -m lmbook build

record: .venv/installed ## record results seed by seed, at low priority; SCALE=desktop for nights, PLAN=1 says how many
	@python -m lmthesis.recorded all $(or $(SCALE),demo) $(if $(PLAN),--plan)

notebook: .venv/installed ## open the chapters as notebooks in JupyterLab
	@python -m lmbook notebook

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

format: .venv/installed ## lay out the code, and chapters as their editor saves them
	@ruff check -q --fix $(CODE)
	@ruff format -q $(CODE)
	@for page in chapters/*.md; do jupytext -q --to md:myst -o $$page $$page; done

bench: .venv/installed ## measure speed beside the alternatives
	@python -m benchmarks

clean: ## remove the built book and the kept runs of chapters (trained models stay in .cache)
	@cache="$${LMDYNAMICS_CACHE:-.cache}"; rm -rf _build "$${cache/#\~/$$HOME}/executed"

# Installed anew only when what is to be installed has changed.
.venv/installed: pyproject.toml constraints.txt hatch_build.py
	@test -x $(BIN)/python || for python in python3 $(PYTHONS); do \
		if $$python -c 'import sys; sys.exit("python%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split())' 2>/dev/null; then \
			$$python -m venv .venv && exit || rm -rf .venv; \
		fi; \
	done; test -x $(BIN)/python || { printf '%s\n' >&2 \
		"need one of $(PYTHONS), with its module venv; python3 is $$(python3 --version 2>/dev/null || echo absent)" \
		"Newer ones lack wheels of gensim. Another installs beside yours: uv python install 3.13," \
		"or all at once: conda env create -f environment.yml"; exit 1; }
	@echo "Installing into .venv: some three minutes; three gigabytes, seven where torch comes with CUDA" >&2
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[book,test]'
	@touch $@
