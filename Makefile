# The commands of a checkout. Each installs what it needs into .venv first: `make demo` the package alone,
# the others its tools too. A newer setup.py or pyproject.toml installs again; `make clean` starts anew.

VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
# The tests of a file stay together, since they share what was costly to make; files with few tests are not the quick ones.
EVERY_CORE := --numprocesses=logical --dist=loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-all check golden bench results experiments venv clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo      train a small residual network, export it, classify an image with it'
	@echo 'make test      the tests, but for the slow ones'
	@echo 'make test-all  all tests; some need a browser: .ci/run says how to get one'
	@echo 'make check     lint, formatting, types, generated files'
	@echo 'make golden    write the golden numbers and the facts of the models again; read the difference'
	@echo 'make bench     measure how fast models are built and trained'
	@echo 'make results   train the recipes whose data is here, and write what comes out into their cards and docs/results.md'
	@echo 'make experiments  run the experiments of the lectures, and write docs/experiments.md'
	@echo 'make venv      only install, into $(VENV)'
	@echo 'make clean     remove $(VENV) and what building and testing left; runs/ stays'

# Running it again finds the finished run, and goes on from there; `rm -r runs/demo` trains anew.
demo: $(VENV)/installed
	@echo 'Training digits_resnet20 into $(DEMO)'
	@$(BIN)/kerascnn train digits_resnet20 --data_dir=runs/data --model_dir=$(DEMO) --export_dir=$(DEMO)/export
	@echo 'Classifying $(DEMO)/digit.png, an image that it has not seen, in a new process'
	@$(BIN)/python -m tools.digit_image --data_dir=runs/data --out=$(DEMO)/digit.png
	@$(BIN)/kerascnn predict --bundle=$(DEMO)/export $(DEMO)/digit.png
	@echo 'The report of the run: $(CURDIR)/$(DEMO)/report.html'

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(EVERY_CORE)

# The empty -m takes back the choice that pyproject.toml makes. Recipes share nothing, and are dealt out one by one.
test-all: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(EVERY_CORE) -m '' --ignore=tests/recipes/test_smoke.py
	$(BIN)/python -m pytest --numprocesses=logical -m '' tests/recipes/test_smoke.py

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m tools.make_stubs --check
	$(BIN)/python -m tools.make_zoo --check
	$(BIN)/python -m tools.results --check
	$(BIN)/python -m tools.experiments --check

golden: $(VENV)/installed-dev
	$(BIN)/python -m tools.golden
	$(BIN)/python -m tools.make_zoo

bench: $(VENV)/installed-dev
	$(BIN)/python -m tools.bench build
	$(BIN)/python -m tools.bench loop

# Both go on where they were when they are run again.
results: $(VENV)/installed-dev
	$(BIN)/python -m tools.results --data_dir=runs/data

experiments: $(VENV)/installed-dev
	$(BIN)/python -m tools.experiments --data_dir=runs/data

venv: $(VENV)/installed-dev

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/installed: setup.py pyproject.toml | $(BIN)/python
	@echo 'Installing into $(VENV) (about 2.7 GB; some minutes)'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: setup.py pyproject.toml | $(BIN)/python
	@echo 'Installing into $(VENV), with the tools of development (about 3.2 GB; some minutes)'
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/installed $@

# A name on the PATH may be an empty shim, and Debian splits venv off: so each candidate has to show that it can do it.
$(BIN)/python:
	@for python in python3.11 python3; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo 'kerascnn needs Python 3.11 or newer with its venv module, and found none as python3.11 or python3.' >&2; \
	echo 'On Debian and Ubuntu: apt install python3 python3-venv' >&2; \
	exit 1
