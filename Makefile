# The menu. Each target sets up what it needs from Python 3.11 or 3.12 and make; set-up talks on
# stderr only. ARGS="..." goes to the program that a target runs.

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
MAKEFLAGS += --no-print-directory

.PHONY: help demo test lint bench campaign diagrams docs lock
.DEFAULT_GOAL := help

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(READY) ## run everything on this machine and watch it learn
	@$(BIN)/python -m flows demo $(ARGS)

# Three workers on two cores: while some tests wait for processes and clocks, others compute.
test: $(READY) ## run the tests
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY) ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run: ruff format ." >&2; exit 1; }
	@$(BIN)/mypy

bench: $(BENCH_READY) ## measure one thing: NAME=learning, throughput, latency, ...
	@$(call run_named,ops.benchmarks)

campaign: $(BENCH_READY) ## one long proof: NAME=faults, oracle, store_away, ...
	@$(call run_named,ops.benchmarks.campaigns)

diagrams: $(READY) ## draw the flows into docs/diagrams; ARGS=--check only compares
	@$(BIN)/python ops/ci/diagrams.py $(ARGS)

docs: $(READY) ## check what the documents name and link to, and run their examples
	@$(BIN)/python ops/ci/docs.py

lock: ## choose and pin all versions anew (needs uv)
	@ops/ci/lock

$(READY): requirements.lock pyproject.toml ops/ci/venv ops/ci/choose_python
	@echo "setting up $(VENV)" >&2
	@ops/ci/venv $(VENV) requirements.lock >&2
	@touch $@

$(BENCH_READY): requirements-bench.lock $(READY)
	@ops/ci/venv $(VENV) requirements-bench.lock >&2
	@touch $@

# $(1): the package whose module NAME is to run
run_named = folder=$(subst .,/,$(1)); \
	if [ -z "$(NAME)" ] || [ ! -f "$$folder/$(NAME).py" ]; then \
		echo "NAME=$(NAME) is none of:" $$(ls $$folder | sed -n 's/^\([a-z][a-z_]*\)\.py$$/\1/p') >&2; exit 2; \
	fi; \
	exec $(BIN)/python -m $(1).$(NAME) $(ARGS)
