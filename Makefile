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

test: setup $(VENV)/.torch
	@scripts/system-packages tests
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

setup: $(VENV)/.installed

$(VENV)/.installed: $(SOURCES) scripts/system-packages
	@scripts/system-packages build
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[tflite,serve,dev]'
	@touch $@

# The CPU build and nothing else: PyPI's torch brings gigabytes of CUDA, and so does what depends on
# it, unless torch is there first.  torchvision has no CPU build there, but its models need none.
TORCH := torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu

$(VENV)/.torch: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps torchvision==0.28.0 \
		|| echo "Going on without torch; the tests that need it are skipped." >&2
	@touch $@

lint: setup
	$(BIN)/pre-commit run --all-files

bench: setup
	$(BIN)/pytest bench --benchmark-enable --benchmark-only

fuzz:
	$(PYTHON) tests/fuzz/run.py $(FUZZ)

clean:
	rm -rf $(VENV) build dist out
