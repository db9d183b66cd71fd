# `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVICES := discovery collector renderer applier
PACKAGES := libs/common $(addprefix services/,$(SERVICES)) libs/command
EDITABLE := $(foreach package,$(PACKAGES),-e $(package))
PROJECTS := $(foreach package,$(PACKAGES),$(package)/pyproject.toml)
SOURCES := libs services tests bench examples docs
RESOLVE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
NOT_OURS := $(foreach name,common $(SERVICES),--no-emit-package vcenter-operator-$(name))

COMPOSE ?= docker compose
BUILT = VERSION=$(shell sed -n 's/^version = "\(.*\)"/\1/p' libs/command/pyproject.toml) \
	REVISION=$(shell git rev-parse HEAD) SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct -- Dockerfile libs requirements services)

.DEFAULT_GOAL := help
.PHONY: help venv demo region images up up-test down docs wheels test unit histories chaos lint format picture lock clean

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

images: ## an image for each service, and one with the command and all of them
	$(BUILT) $(COMPOSE) build

up: images ## the example region on real servers in containers; it waits for the first objects and says where to look
	$(COMPOSE) up --detach
	@deploy/compose/ready.sh $(COMPOSE)

up-test: up ## breaks that region piece by piece, sees it recover, and takes it down: needs an engine, so not in `make test`
	deploy/compose/check.sh $(COMPOSE)

down: ## takes away what `make up` made, but for the images
	$(COMPOSE) --profile tools down --volumes --remove-orphans

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
	$(RESOLVE) $(PROJECTS) $(NOT_OURS) -o requirements/runtime.txt
	for service in $(SERVICES); do \
		$(RESOLVE) libs/common/pyproject.toml services/$$service/pyproject.toml $(NOT_OURS) \
			-c requirements/runtime.txt -o requirements/$$service.txt || exit; done
	$(RESOLVE) libs/common/pyproject.toml --extra traces -c requirements/runtime.txt -o requirements/traces.txt
	$(RESOLVE) requirements/build.in -c requirements/runtime.txt -o requirements/build.txt
	$(RESOLVE) requirements/sbom.in -c requirements/runtime.txt -c requirements/build.txt -o requirements/sbom.txt
	$(RESOLVE) requirements/dev.in -c requirements/runtime.txt -c requirements/build.txt -c requirements/traces.txt \
		-o requirements/dev.txt
	$(RESOLVE) requirements/picture.in -c requirements/runtime.txt -c requirements/dev.txt -o requirements/picture.txt

clean: ## removes the virtual environment and what the tools left
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
