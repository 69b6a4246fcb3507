# Everything a developer runs. Needs make and Python 3.11-3.13 with venv; the rest is installed into .venv.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
EXTRA  := $(VENV)/.installed
JOBS   ?= 2

# Several test processes share the cores: threads that wait must not spin. Machine code of one run serves the next one,
# and so does byte code, with pytest's assertions written out.
PPL_CACHE_DIR ?= $(CURDIR)/.cache/ppl
TEST_ENV := OMP_WAIT_POLICY=PASSIVE MPLBACKEND=Agg PPL_CACHE_DIR=$(PPL_CACHE_DIR) PYTHONDONTWRITEBYTECODE=
PYTEST   := $(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: help demo test test-tiny test-slow gpu lint format types docs kernels bench wheel clean

help:            ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

demo: $(EXTRA)-demo            ## train a sigmoid belief network on handwritten digits
	$(BIN)/ppl run sbn

test: $(EXTRA)-test            ## the fast tests; MINUTES=16 begins none later, and first cases come first
	$(PYTEST) -m "not slow" $(if $(MINUTES),--minutes $(MINUTES) --dist load --maxschedchunk 16)

test-tiny: $(EXTRA)-test       ## half a minute of tests, before every commit
	$(PYTEST) -m tiny

test-slow: $(EXTRA)-test       ## the full matrix
	$(PYTEST)

gpu: $(EXTRA)-test             ## on a machine with an NVIDIA GPU: the tests on it, and its figures
	$(TEST_ENV) $(BIN)/python -m pytest -m cuda tests/device
	$(BIN)/python -m benchmarks gpu cubins

lint: $(EXTRA)-test            ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(EXTRA)-test          ## let ruff rewrite the source
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(EXTRA)-test           ## mypy
	$(BIN)/python .ci/types.py

# Without --quiet, under which mkdocs counts no warnings.
docs: $(EXTRA)-docs            ## the documentation as a site, into site/; wrong links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

kernels: $(EXTRA)-test         ## write the kernels of both precisions from kernels/source
	$(BIN)/python -m ppl.kernels.source

bench: $(EXTRA)-bench          ## the benchmarks, against PyTorch and JAX
	$(BIN)/python -m benchmarks --peers jax,torch

wheel: $(EXTRA)-test           ## build a wheel into dist/
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m pip wheel . --no-deps --no-build-isolation -w dist

clean:           ## remove everything that can be made again
	rm -rf $(VENV) build dist outputs *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "ppl needs Python 3.11-3.13; say 'make PYTHON=/path/to/python'"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp per extra: reinstalled when the metadata changes, and only then.
$(EXTRA)-%: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@
