# One virtual environment in .venv, filled from constraints.txt, the exact set of versions the tests pass with.
# Needs Python 3.11 or newer and make, nothing else.

IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	"$$name" -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo "$$name" && break; done)
VENV ?= .venv
# Empty takes the first free port from 7860
PORT ?=
ROOT ?= checkpoints
ARGS ?=
# Index of PyTorch's CPU wheels, if you want the small CPU build where PyPI's own torch brings CUDA with it
TORCH_INDEX ?=

RUN_EXTRAS := dashboard,smiles,aselmdb
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Two processes fit two cores; each numerical library gets one thread, or they would fight over the cores
TEST_WORKERS ?= 2
TEST_THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help run test dashboard lint clean-venv
.DEFAULT_GOAL := help

help:
	@echo 'make run         set up $(VENV) and distil the default force field (ARGS="experiment=quick" for another run)'
	@echo 'make test        set up $(VENV) and run the tests (ARGS="tests/training -k stages" for a part of them)'
	@echo 'make dashboard   show the runs under $(ROOT)/ in a browser, nothing loaded from the internet (PORT=7870)'
	@echo 'make lint        ruff and mypy'
	@echo 'make clean-venv  remove $(VENV)'
	@echo ''
	@echo 'PYTHON=python3.12 picks the interpreter (3.11 or newer). TORCH_INDEX=<index of PyTorch CPU wheels> takes torch'
	@echo 'from there; without it a GPU-enabled torch of several gigabytes may come from PyPI on Linux.'

run: $(VENV)/.run
	$(VENV)/bin/python train.py $(ARGS)

test: $(VENV)/.test
	$(TEST_THREADS) $(VENV)/bin/python -m pytest -n $(TEST_WORKERS) --dist loadfile -q $(ARGS)

dashboard: $(VENV)/.run
	$(VENV)/bin/python -m training.dashboard --root $(ROOT) $(if $(PORT),--port $(PORT))

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy training mlff pinn

clean-venv:
	rm -rf $(VENV)

# A stamp is written last: an interrupted installation is taken up again by the next command.
$(VENV)/.run: $(VENV)/.venv pyproject.toml constraints.txt
	$(if $(TORCH_INDEX),$(PIP) install --index-url $(TORCH_INDEX) -c constraints.txt torch)
	$(PIP) install --quiet -c constraints.txt -e ".[$(RUN_EXTRAS)]"
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(PIP) install --quiet -c constraints.txt -e ".[$(RUN_EXTRAS),test]"
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) install --quiet -c constraints.txt -e ".[$(RUN_EXTRAS),dev]"
	@touch $@

$(VENV)/.venv:
	@test -n '$(PYTHON)' || { echo 'No Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3.11'; exit 1; }
	@'$(PYTHON)' -c '$(IS_NEW_ENOUGH)' || { echo '$(PYTHON) is no Python 3.11 or newer; name one: make PYTHON=python3.11'; exit 1; }
	'$(PYTHON)' -m venv $(VENV) || { echo 'On Debian and Ubuntu the venv module is a package: apt-get install python3-venv'; exit 1; }
	@touch $@
