# make demo   set everything up and run the whole main job on the bundled excerpt
# make test   set everything up and run all tests
# make bench  set everything up and print the tables of speed and memory
# make gpu    on a machine with a GPU: the tests that need one, then every figure and the README's table of them
# make check  format, lint and types
# make pages  write again what is generated: the API page, the table of DAWs, ReaPack's list

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test bench gpu check pages clean

demo: $(VENV)/.ready-demo
	$(BIN)/stembridge demo --out demo_out

test: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest --numprocesses 3 --no-loadscope-reorder

bench: $(VENV)/.ready-test
	$(BIN)/python -m benchmarks

gpu: $(VENV)/.ready-test
	$(BIN)/pytest -m gpu
	$(BIN)/python -m benchmarks.gpu --out benchmarks/results --budget-s 3600
	$(BIN)/python -m benchmarks.readme

check: $(VENV)/.ready-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

pages: $(VENV)/.ready-test
	$(BIN)/python -m bridge.api.page
	$(BIN)/python tests/scenario_page.py
	$(BIN)/python -m bridge.install.reapack

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,plots]'
	touch $@

# torch is pinned and installed first: the newest release may pull gigabytes of CUDA packages.
$(VENV)/.ready-test: pyproject.toml requirements-test.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,plots,torch,export,train,cluster,midi,test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) demo_out build dist
