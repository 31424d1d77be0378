# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up .venv first.

# The newest interpreter here with which everything is tested; `make PYTHON=... ` names another one.
SUITABLE := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for each in python3.14 python3.13 python3.12 python3.11; do \
	if "$$each" -c '$(SUITABLE)' 2>/dev/null; then echo "$$each"; exit; fi; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := torch==2.13.0
CODE := privacy models client server tests benchmarks

# Demo and tests start many processes: where Python may not keep what it compiled, each compiles the whole tree again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check check-code check-docs bench images-check clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/consilium demo $(ARGS)

# Without ARGS: all but the long ones, two files at a time, in the order of tests/conftest.py. Each has a core: two
# processes that compute with two threads each would mostly wait for each other.
test: export OMP_NUM_THREADS := 1
test: $(READY)
ifeq ($(ARGS),)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"
else
	$(BIN)/pytest $(ARGS)
endif

check: check-code check-docs

check-code: $(READY)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check-docs: $(READY)
	$(BIN)/pytest tests/docs

bench: $(READY)
	$(BIN)/python -m benchmarks.ledger $(ARGS)
	$(BIN)/python -m benchmarks.models $(ARGS)
	$(BIN)/python -m benchmarks.round $(ARGS)
	$(BIN)/python -m benchmarks.sealing $(ARGS)

# As root, with buildah and mmdebstrap: builds the images, and runs a study from them. ARGS is a folder with 20 GB.
images-check: $(READY)
	scripts/try-images $(ARGS)

clean:
	rm -rf $(VENV)

# Made anew, so that nothing of another Python or of earlier versions is left in it.
# torch first: plain pip takes the build that fits the machine, CPU or CUDA.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
		{ echo "make: $(PYTHON) is not Python 3.11 to 3.14, and no other was found; name one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || \
		{ echo "make: no virtual environment can be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
