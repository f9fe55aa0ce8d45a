.DEFAULT_GOAL := help
.PHONY: journals paper-run simulate help run ui test test-fast check lint types imports format lock clean
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: $(STAMP) ## from nothing to filled orders on the bundled sample; again: resumes
	@$(BIN)/trading-pipeline run

ui: $(STAMP) ## the Dagster UI on that data, http://127.0.0.1:3000
	@$(BIN)/trading-pipeline ui

test: $(STAMP) ## all tests, on real servers started by the project, a process a core
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

simulate: $(STAMP) ## the order path under drawn faults, SEEDS=1000 of them or one SEED again
	PYTHONPATH=.:tests $(BIN)/python -m simulation --seeds $(or $(SEEDS),1000) $(if $(SEED),--seed $(SEED))

journals: $(STAMP) ## what Alpaca's journal and the ledger say after each fault, as the table of docs/alpaca.md
	@PYTHONPATH=.:tests $(BIN)/python -m support.alpaca.journals

paper-run: $(STAMP) ## ten sessions on a local Alpaca under faults as SEED draws them, as the table of docs/alpaca.md; KILL=1: under kill -9 too
	@PYTHONPATH=.:tests $(BIN)/python -m support.paper --seed $(or $(SEED),1) $(if $(KILL),--kill)

check: lint types imports ## everything but the tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

format: $(STAMP) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP) ## resolve the dependencies anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal --generate-hashes \
	  --no-annotate --no-header --quiet --output-file requirements.lock

clean: ## stop the servers and remove all data and the environment
	-@$(BIN)/trading-pipeline down 2>/dev/null
	rm -rf .pipeline .venv

# uv installs the locked set in a fraction of pip's time; where it cannot reach its index, pip does the same work.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
