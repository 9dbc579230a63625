# Tenantry's front door. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

TOPOLOGY ?= cohosted
WORKERS ?= 1
TLS ?=
EDGE ?=
ADDRESS ?=
B ?=
FILTER ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
WITH_EDGE := $(VENV)/.installed-edge
TOOLS := .tools/.built
# A file's tests stay together, since they share what was started for them, and so do all that share a mesh; in what order, says
# tests/conftest.py.
SPREAD := -n logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(RUNTIME) $(if $(EDGE),$(WITH_EDGE)) ## start everything, ask the demo questions (TOPOLOGY=mesh: eight processes; WORKERS=2; EDGE=1: behind Envoy; TLS=1)
	@exec $(BIN)/tenantry up --demo --topology $(TOPOLOGY) --workers $(WORKERS) $(if $(EDGE),--edge) $(if $(TLS),--tls) $(ARGS)

.PHONY: test
test: $(DEV) ## run every test this machine can run (FILTER=words; TENANTRY_TEST_ALL=1: build the tools, leave nothing out)
	@if [[ "$${TENANTRY_TEST_ALL:-}" == 1 ]]; then $(MAKE) tools; fi
	@$(BIN)/pytest $(SPREAD) $(if $(FILTER),-k "$(FILTER)") $(ARGS)

.PHONY: attack
attack: $(DEV) $(if $(EDGE),$(WITH_EDGE)) ## attack a mesh and say what held (TOPOLOGY=mesh; EDGE=1: behind Envoy; or ADDRESS=host:port with an operator's key in TENANTRY_KEY)
	@$(BIN)/python -m tests.attack $(or $(ADDRESS),$(if $(filter mesh,$(TOPOLOGY)),processes,cohosted)) $(if $(EDGE),envoy)

.PHONY: check
check: $(DEV) ## format, lint, types, who imports whom, contracts, fresh stubs
	@$(MAKE) -k check-format check-lint check-imports check-contracts check-stubs check-types

.PHONY: check-format check-lint check-imports check-contracts check-stubs check-types
check-format: $(DEV)
	@$(BIN)/ruff format --check .
check-lint: $(DEV)
	@$(BIN)/ruff check .
check-imports: $(DEV)
	@$(BIN)/lint-imports --no-cache --no-logo
check-contracts: $(DEV)
	@$(BIN)/python deploy/contracts.py check
check-stubs: $(DEV)
	@$(BIN)/python deploy/gen.py --check
check-types: $(DEV)
	@$(BIN)/pyright --level error

.PHONY: format
format: $(DEV) ## put the code into the form that `make check` wants
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: gen
gen: $(DEV) ## make the stubs in gen/python from protos/
	@$(BIN)/python deploy/gen.py

.PHONY: publish
publish: $(DEV) ## record today's contracts as those that clients rely on (protos/published.binpb)
	@$(BIN)/python deploy/contracts.py publish $(ARGS)

.PHONY: bench
bench: $(DEV) ## measure (B=path, echo, memory, leaks, revocation, fuzz, edge, identity, quota, faults, fairness or queue; FULL=1 takes longer and says more)
	@if [[ -z "$(B)" ]]; then echo "Which one? make bench B=path | echo | memory | leaks | revocation | fuzz | edge | identity | quota | faults | fairness | queue" >&2; exit 2; fi
	@$(BIN)/python -m tests.bench $(B) $(ARGS)

.PHONY: tools
tools: $(TOOLS) ## build Weaviate and Jaeger into .tools/bin, for the tests that want the real ones (needs Go)

.PHONY: lock
lock: $(DEV) ## resolve the requirements again (UPGRADE=1 takes the newest that pyproject.toml allows)
	@$(BIN)/python deploy/lock.py $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## remove the environment, the demo's data and what was built (the tools stay: rm -r .tools)
	rm -rf $(VENV) .tenantry .bench .pytest_cache .ruff_cache .hypothesis dist
	find services gen tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +

# What is pinned by hash is installed by hash. uv takes seconds where pip takes a minute; without it pip serves.
$(RUNTIME): requirements.txt requirements-uv.txt pyproject.toml
	@deploy/environment requirements.txt
	@touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	@deploy/environment requirements-dev.txt
	@touch $@

$(WITH_EDGE): requirements-edge.txt $(RUNTIME)
	@deploy/environment requirements-edge.txt
	@touch $@

$(TOOLS): deploy/tools/go.mod deploy/tools/go.sum
	@deploy/build-tools
	@mkdir -p $(@D) && touch $@
