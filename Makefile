# The only commands a newcomer needs: make demo, make test. The others: make check, make bench, make soak.
# Everything lives in .venv; delete it to start over.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where there is no GPU, torch's CPU build is smaller by gigabytes:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
TORCH_SOURCE := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),)

# Tests hold themselves to one thread; a file of them runs in one process, as many as there are workers.
WORKERS ?= 2

.PHONY: setup demo test check fix bench soak clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Trimtab needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch $(TORCH_SOURCE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/trimtab demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! git grep -nE '^(<{7}|>{7}) '  # marks of a merge that nobody finished

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: check
	$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist loadfile

bench: setup
	$(BIN)/python benchmarks/light_verbs.py
	$(BIN)/python benchmarks/memory_prediction.py
	$(BIN)/python benchmarks/train_vs_trainer.py speed
	$(BIN)/python benchmarks/train_vs_trainer.py profile
	$(BIN)/python benchmarks/train_vs_trainer.py accuracy

soak: setup
	$(BIN)/python -m pytest -m soak

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
