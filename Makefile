# make demo: set everything up and run the main job.  make test: set everything up and run the tests.
# `make setup` leaves .venv/bin/splitcodec behind; `make lint` runs what pre-commit runs; `make fuzz`
# fuzzes the core for a few minutes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt $(shell find csrc cmake firmware pysplitcodec tests/vectors -type f -not -name '*.pyc')

.PHONY: demo test setup lint bench fuzz clean

demo: setup
	$(BIN)/splitcodec demo --out out/demo

test: setup
	@scripts/system-packages tests
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

setup: $(VENV)/.installed

$(VENV)/.installed: $(SOURCES) scripts/system-packages
	@scripts/system-packages build
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[tflite,serve,dev]'
	@touch $@

lint: setup
	$(BIN)/pre-commit run --all-files

bench: setup
	$(BIN)/pytest bench --benchmark-enable --benchmark-only

fuzz:
	$(PYTHON) tests/fuzz/run.py $(FUZZ)

clean:
	rm -rf $(VENV) build dist out
