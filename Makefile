# `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := libs/common services/discovery services/collector services/renderer services/applier libs/command
EDITABLE := $(foreach package,$(PACKAGES),-e $(package))
PROJECTS := $(foreach package,$(PACKAGES),$(package)/pyproject.toml)
SOURCES := libs services tests bench examples docs

.DEFAULT_GOAL := help
.PHONY: help venv demo region docs wheels test unit histories chaos lint format picture lock clean

help: ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.runtime: requirements/runtime.txt $(PROJECTS)
	@echo "Setting up $(VENV): once, and for a minute or so"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

venv: $(VENV)/.dev ## the virtual environment with everything for developing

demo: $(VENV)/.runtime ## the main job on the embedded adapters: no server needed, only Python
	@$(BIN)/python -m examples.demo

region: $(VENV)/.dev ## a region on real servers with something in it, to try the operator on, until Ctrl-C
	@$(BIN)/python -m tests.e2e

docs: $(VENV)/.dev ## the pages that follow from the code: configuration, the messages' schema
	@$(BIN)/python -m docs.generator

wheels: $(VENV)/.runtime ## the packages as wheels, in dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist $(PACKAGES)
	@ls dist/*.whl

test: $(VENV)/.dev ## every test, against the real servers, which it installs or builds and starts by itself
	@$(BIN)/python -m tests.stack install
	$(BIN)/python -m pytest tests

unit: $(VENV)/.dev ## the tests that need no server: seconds
	$(BIN)/python -m pytest tests/unit -n auto

histories: $(VENV)/.dev ## random histories of a region; the nightly size: HISTORIES=10000 of each sort
	HISTORIES=$${HISTORIES:-10000} $(BIN)/python -m pytest tests/unit/applier/test_histories.py -n 2 --timeout 7200

chaos: $(VENV)/.dev ## random changes and faults at once; SEEDS=20 of them, the nightly size, from SEED on (drawn otherwise)
	@$(BIN)/python -m tests.stack install
	SEEDS=$${SEEDS:-20} $(BIN)/python -m pytest tests/chaos -v

lint: $(VENV)/.dev ## style, types and layers
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

format: $(VENV)/.dev ## formats the code
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench-%: $(VENV)/.dev ## a benchmark, e.g. make bench-cold
	$(BIN)/python -m bench.$*

picture: $(VENV)/.dev ## an incident on real servers, and what the dashboard shows of it, drawn into docs/dashboard.png
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/picture.txt
	@$(BIN)/python -m tests.stack install
	$(BIN)/python -m bench.picture

lock: $(VENV)/.dev ## resolves the dependencies anew into requirements/*.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(PROJECTS) \
		$(foreach name,common discovery collector renderer applier,--no-emit-package vcenter-operator-$(name)) \
		-o requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header libs/common/pyproject.toml \
		--extra traces -c requirements/runtime.txt -o requirements/traces.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header requirements/build.in \
		-c requirements/runtime.txt -o requirements/build.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header requirements/dev.in \
		-c requirements/runtime.txt -c requirements/build.txt -c requirements/traces.txt -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header requirements/picture.in \
		-c requirements/runtime.txt -c requirements/dev.txt -o requirements/picture.txt

clean: ## removes the virtual environment and what the tools left
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
