PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
READY := $(BIN)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check wheel docs examples soak ecosystem bench

help:  ## Show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: $(READY)  ## Make .venv with this package (editable) and everything it is developed with

# The pip a fresh environment comes with may be too old to know dependency groups.
$(READY): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q -c constraints.txt -e . --group dev
	@touch $@

demo: $(READY)  ## Train examples/digits.py on real digits, in under a minute on two cores
	$(BIN)/python -m nimble_lightning trainer=examples/digits.py
	@echo "run folder: $$(ls -td outputs/digits/*/ | head -1)"

test: $(READY)  ## Run the tests (WORKERS=2 at once)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(READY)  ## Lint, check types, and check which part imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q $(addprefix tests/contract/test_,imports.py import_circles.py dotted_names.py)

wheel: $(READY)  ## Build the wheel and the source distribution into dist/
	$(BIN)/python -m build --no-isolation

docs: $(READY)  ## Build the manual into build/manual/, and look whether each link leads somewhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

examples: $(READY)  ## Run every example (make test does it too)
	$(BIN)/python -m pytest -q tests/integration/test_examples.py

soak: $(READY)  ## Run the tests that take many minutes
	$(BIN)/python -m pytest -m 'soak or slow' --timeout 7200

ecosystem: $(READY)  ## Train projects of common shapes alone, with our callbacks, and killed under retry
	$(BIN)/python -m pytest -m slow --timeout 1800 tests/ecosystem

bench: $(READY)  ## Measure steps a second beside the raw loop, Lightning and the HF Trainer
	$(BIN)/python -m tests.bench
