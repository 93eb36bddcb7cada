# Everything a newcomer needs: Python >= 3.10, git and make. Each target makes what it needs.
PYTHON ?= python3
VENV := .venv

# The other environments are large. They are kept outside the checkout, one set for each checkout and each Python.
CACHE := $(or $(OPENLINEAGE_POD_TEST_CACHE),$(HOME)/.cache/openlineage-pod)
HERE := $(CACHE)/checkout-$(shell pwd | cksum | cut -d ' ' -f 1)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1)
FULL := $(HERE)/full-python$(VERSION)

PYTEST := -m pytest --durations=20 $(PYTEST_ARGS)
# Tests marked `serial` follow when all others have ended.
PARALLEL := -n auto
# Arguments such as `-k spool` may leave no test in one of several parts.
NONE_SELECTED := $(if $(PYTEST_ARGS),|| test $$? = 5)

.PHONY: help demo test test-slow test-all check architecture bench bundle clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-12s %s\n' "$$name" "$$text"; done

demo: $(VENV)/package ## run the example job as a pod that Airflow started, and show its events
	$(VENV)/bin/python examples/demo.py

test: $(VENV)/installed ## run the fast tests, in minutes: no container, no Airflow, no server
	$(VENV)/bin/python $(PYTEST) $(PARALLEL) -m 'not slow and not serial' $(NONE_SELECTED)
	$(VENV)/bin/python $(PYTEST) -m 'not slow and serial' $(NONE_SELECTED)

# The tests with servers run in one process, which starts each server once.
test-slow: $(FULL)/installed ## run all other tests: real servers, containers, Airflow, every Python, the bundle
	$(FULL)/bin/python $(PYTEST) -m 'slow and not serial' tests/e2e $(NONE_SELECTED)
	$(FULL)/bin/python $(PYTEST) -n 2 -m 'slow and not serial' --ignore=tests/e2e $(NONE_SELECTED)
	$(FULL)/bin/python $(PYTEST) -m 'slow and serial' $(NONE_SELECTED)

test-all: test test-slow ## run both

check: $(FULL)/installed ## lint and type-check
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy

architecture: $(VENV)/docs ## draw the modules and their imports into docs/architecture.svg (needs Graphviz)
	$(VENV)/bin/python docs/architecture.py

bundle: $(VENV)/package ## build the command for images without Python, into dist/
	$(VENV)/bin/python bundle/build.py

bench: $(VENV)/installed ## measure the cost for the job, side by side with plain openlineage-python
	$(VENV)/bin/python benchmarks/run.py

$(VENV)/package: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed: $(VENV)/package
	@echo 'installing what the fast tests need (200 MB)'
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/docs: $(VENV)/package
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@

$(FULL)/installed: pyproject.toml
	@echo 'installing what the checks and the slow tests need (800 MB) into $(FULL)'
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/python -m pip install --quiet --editable '.[check]'
	touch $@

clean: ## remove what the other targets have made
	rm -rf $(VENV) $(HERE) demo-out dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
