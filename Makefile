# make demo: set everything up and run the main job.  make test: set everything up and run the tests.
# `make setup` leaves .venv/bin/splitcodec behind; `make lint` runs what pre-commit runs; `make fuzz`
# fuzzes the core for a few minutes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
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
	$(PIP) --upgrade pip
	$(PIP) '.[tflite,serve,dev]'
	@touch $@

# The CPU build and nothing else: PyPI's torch brings gigabytes of CUDA, and so does what depends on
# it, unless torch is there first.  What it needs comes before it, so that nothing else is looked for
# at the second index.  torchvision has no CPU build at PyPI, but its models need none.  Of what the
# extra "export" brings, these are enough, and half as much.
TORCH := torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu
TORCH_NEEDS := filelock fsspec jinja2 networkx setuptools 'sympy>=1.13.3' typing-extensions
MODELS := torchvision==0.28.0 timm==1.0.31 huggingface_hub==2.4.0
EXPORT := litert-torch==0.10.0 litert-converter==0.5.0 ai-edge-quantizer==0.10.0 torchao==0.18.0 \
	jax==0.10.2 jaxlib==0.10.2 opt_einsum==3.4.0 immutabledict==4.3.1 absl-py==2.5.1 \
	onnxscript==0.7.2 onnx-ir==1.1.0 scipy

$(VENV)/.torch: $(VENV)/.installed
	@$(PIP) $(TORCH_NEEDS) && $(PIP) --no-deps --retries 1 $(TORCH) \
		&& $(PIP) --no-deps $(MODELS) && $(PIP) --no-deps $(EXPORT) \
		|| echo "Going on without; the tests that need torch, or to export its models, are skipped." >&2
	@touch $@

lint: setup
	$(BIN)/pre-commit run --all-files

bench: setup
	$(BIN)/pytest bench --benchmark-enable --benchmark-only

fuzz:
	$(PYTHON) tests/fuzz/run.py $(FUZZ)

clean:
	rm -rf $(VENV) build dist out
