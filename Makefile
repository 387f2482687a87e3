# Everything a contributor runs. Each target does its own set-up on a machine with Python 3.11 or newer and make; another
# Python gets an environment of its own with PYTHON=/usr/bin/python3 VENV=.venv-debian.
#
# The Python packages come from the lock files, each checked by its hash; the package index is whichever pip is
# configured with. The set-up is done again only when a lock file or pyproject.toml changes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
LOCKED := $(PIP) --require-hashes --only-binary :all:
RESOLVER := $(VENV)/resolver/bin
COMPILE := $(RESOLVER)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-strip-extras --only-binary :all: --emit-build-options
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-all test-local soak check bench setup openapi readme lock clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## segment a real photograph through every provider, on sandbox upstreams, and check the books
	@$(BIN)/maskgate demo

serve: $(VENV)/.runtime ## run the gateway on http://127.0.0.1:8080 with embedded defaults (ARGS="--sandbox" for more)
	@$(BIN)/maskgate serve $(ARGS)

PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# A hundred processes begin with the same modules: their bytecode is written once.
test test-all test-local soak: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.tests ## something of everything in under 5 minutes, with real redis-server and PostgreSQL (ARGS="tests/gateway -x" for fewer)
	@sh tests/setup_servers.sh redis-server postgresql nginx
	@$(PYTEST) -m "not slow and not soak and not alone" $(ARGS)

test-all: $(VENV)/.tests ## the tests that `make test` leaves out: kills, simulations, loads, real clients, with short seeds
	@sh tests/setup_servers.sh redis-server postgresql nginx
	@$(PYTEST) -m "slow and not soak and not alone" --ignore=tests/providers/local $(ARGS)
	@$(BIN)/python -m pytest -m alone $(or $(ARGS),$$(grep -rl "mark.alone" --include="test_*.py" tests)) \
	|| [ $$? -eq 5 ] # 5: ARGS leaves none of them

test-local: $(VENV)/.tests ## every test of the local engine, the slow ones too
	@$(PYTEST) -m "not soak" tests/providers/local $(ARGS)

soak: $(VENV)/.tests ## long runs by hand, with other seeds: ARGS="--rounds 60 --seed 7", and a path for fewer
	@sh tests/setup_servers.sh redis-server postgresql nginx
	@$(PYTEST) -m soak --timeout=0 $(ARGS)

check: $(VENV)/.tests ## format, lint, types, import contracts, OpenAPI drift, lock files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/maskgate openapi --check openapi/openapi.json
	@$(BIN)/python tests/check_locks.py

bench: $(VENV)/.tests ## measure the gateway beside its rivals; bench-output/bench.json (ARGS="--quick" for a short one)
	@sh tests/setup_servers.sh nginx wrk postgresql redis-server
	@$(BIN)/python tests/benchmarks/run.py $(ARGS)

setup: $(VENV)/.tests ## make .venv with everything for development

openapi: $(VENV)/.runtime ## write openapi/openapi.json from the app
	@$(BIN)/maskgate openapi --out openapi/openapi.json

readme: $(VENV)/.tests ## write the README's table of providers from the registry
	@$(BIN)/python -m tests.provider_table

lock: $(VENV)/.resolver ## bring the lock files in step with pyproject.toml (UPGRADE=--upgrade for newer versions)
	@$(COMPILE) $(UPGRADE) pyproject.toml -o requirements.lock
	@$(COMPILE) $(UPGRADE) pyproject.toml --extra dev --extra heic -c requirements.lock -o tests/requirements.lock
	@$(COMPILE) $(UPGRADE) --group pyproject.toml:build -c tests/requirements.lock -o deploy/build.lock
	@$(COMPILE) $(UPGRADE) --group pyproject.toml:resolver -o tests/resolver.lock

clean: ## remove what the other targets made, .venv included; never .maskgate, where the ledger is
	rm -rf $(VENV) .venv-* demo-output bench-output dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@sh deploy/make_venv.sh $(PYTHON) $(VENV)

$(VENV)/.runtime: requirements.lock deploy/build.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what Maskgate runs on into $(VENV) (once)"
	@$(LOCKED) -r deploy/build.lock -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.tests: tests/requirements.lock requirements.lock deploy/build.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what Maskgate is developed with into $(VENV) (once)"
	@$(LOCKED) -r deploy/build.lock -r tests/requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime

$(VENV)/.resolver: tests/resolver.lock | $(VENV)/bin/python
	@$(BIN)/python -m venv $(VENV)/resolver
	@$(RESOLVER)/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@
