# Everything a newcomer needs: Python >= 3.10, git and make. Each target makes what it needs.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
# The lowest openlineage-python that pyproject.toml allows.
LOWEST_OPENLINEAGE := $(shell sed -n 's/.*"openlineage-python>=\(.*\)".*/\1/p' pyproject.toml)

.PHONY: demo test test-lowest check bench bundle clean

demo: $(VENV)/package ## run the example job as a pod that Airflow started, and show its events
	$(VENV)/bin/python examples/demo.py

test: $(VENV)/installed ## run the whole test suite
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-lowest: $(LOWEST)/installed ## run it with the lowest openlineage-python that we support
	$(LOWEST)/bin/python -m pytest --ignore=tests/e2e --ignore=tests/typing --ignore=tests/faults \
		--deselect tests/delivery/test_http.py::test_same_request $(PYTEST_ARGS)  # the same as the newest sends

check: $(VENV)/installed ## lint and type-check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bundle: $(VENV)/package ## build the command for images without Python, into dist/
	$(VENV)/bin/python bundle/build.py

bench: $(VENV)/installed ## measure the cost for the job, side by side with plain openlineage-python
	$(VENV)/bin/python benchmarks/run.py

$(VENV)/package: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed: $(VENV)/package
	@echo 'installing what the tests need (700 MB)'
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $@

$(LOWEST)/installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --editable '.[test]' 'openlineage-python==$(LOWEST_OPENLINEAGE)'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) demo-out dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
