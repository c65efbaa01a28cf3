# Set-up and everything a user or developer starts. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STUDY ?= studies/digits.yaml
DATA ?= data
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.tools
ZOO := $(VENV)/.zoo

.DEFAULT_GOAL := help
.PHONY: help study report dashboard paper docs test test-all test-zoo check format bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): 2 GB of packages, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[onnx,png]"
	@touch $@

$(ZOO): $(TOOLS) # torchvision and timm, whose architectures are tried
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[zoo]"
	@touch $@

$(TOOLS): $(STAMP) # what tests, checks and documentation need beside
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

study: $(STAMP) ## set up, then run or go on with the study (STUDY=studies/digits.yaml)
	$(BIN)/nacim run $(STUDY)

report: $(STAMP) ## write the study's HTML report from its database
	$(BIN)/nacim report $(STUDY)

dashboard: $(STAMP) ## open optuna-dashboard on the study's database, read-only
	$(BIN)/nacim dashboard $(STUDY)

paper: $(STAMP) ## the paper's experiment on CIFAR-10, reduced to an hour (DATA=folder of cifar-10-batches-py)
	$(BIN)/python benchmarks/paper.py --data-dir $(DATA)

docs: $(TOOLS) ## build the documentation's site into site/, links checked
	$(BIN)/mkdocs build --quiet --strict

test: $(TOOLS) ## set up, then run the quick tests
	$(BIN)/pytest -n auto --dist loadgroup -m "not slow and not zoo"

test-all: test ## the quick tests, then those that are long by nature: kills, cluster, browser, many chips
	$(BIN)/pytest -n auto --dist loadgroup -m "slow and not zoo"

test-zoo: $(ZOO) ## architectures of torchvision and timm on crossbars, about 20 minutes on one core
	$(BIN)/pytest -n auto -m zoo tests/test_zoo.py

check: $(TOOLS) ## what CI asks beside the tests: format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(TOOLS) ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## time the cost model
	$(BIN)/python benchmarks/cost_model.py

clean: ## remove the environment and caches; results stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis site
