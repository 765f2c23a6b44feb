# `make` alone lists what there is. Each target does its own set-up; see scripts/setup for what that means.
# ARGS hands arguments on: make test ARGS="tests/unit -k codec", make serve ARGS="--help", make bench ARGS=list

.DEFAULT_GOAL := help
.PHONY: help demo serve test check bench format lock clean

PYTHON := .venv/bin/python
ARGS ?=
# Two more than there are cores: tests wait for servers a good part of their time.
WORKERS ?= $(shell expr $$(nproc) + 2)
# What is compiled is kept: hundreds of processes are started that need it.
unexport PYTHONDONTWRITEBYTECODE

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Uploads real files to a server, kills it half-way, and shows that each file ends where it should.
	@scripts/setup demo
	@demo/run $(ARGS)

serve: ## Starts Penstock on this machine; it needs no other server. Ctrl-C ends it.
	@scripts/setup demo
	@.venv/bin/penstock serve $(ARGS)

test: ## Runs all tests, against real servers on 127.0.0.1.
	@scripts/setup test
	@$(PYTHON) -m pytest --numprocesses $(WORKERS) --maxprocesses 6 --dist loadgroup --no-loadscope-reorder $(ARGS)

check: ## Checks format, lint, types, import levels, generated files and the list of dependencies.
	@scripts/setup test
	@scripts/check

bench: ## Measures speed, CPU and memory beside other servers. ARGS=list names the measurements, ARGS=NAME takes one.
	@scripts/setup bench
	@bench/run $(ARGS)

format: ## Formats the code and makes the generated files again.
	@scripts/setup test
	@scripts/check --fix

lock: ## Renews requirements/*.txt from pyproject.toml; ARGS=--upgrade moves to newer versions.
	@scripts/setup test
	@scripts/lock $(ARGS)

clean: ## Removes everything that the other targets made here.
	@rm -rf .venv .setup.lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@rm -rf bench/node_modules demo/data
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
