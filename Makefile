# quickstart test test-slow check bench docs same clean; every target sees to .venv first.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: quickstart test test-slow check bench docs same clean

quickstart: $(STAMP)
	$(BIN)/alembert quickstart $(ARGS)

# One thread each: two workers that both want all cores are slower than one.
# A worker that is done takes half of what another has left. Quick tests wait for processes and
# clocks in a tenth of their time, which a third worker fills.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist worksteal

test: $(STAMP)
	$(PYTEST) -n 3 -m "not slow" $(ARGS)

test-slow: $(STAMP)
	$(PYTEST) -n 2 -m slow $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.speed.step $(ARGS)

# The site, in build/site; a warning is an error.
docs: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict

# What BASE (a commit) does and HEAD (the working tree, or a commit) does not, to the last digit.
same: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m whole.same $(BASE) $(if $(HEAD),--head $(HEAD)) $(ARGS)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "alembert needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=python3.11" >&2; \
		exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[quickstart,dev]'
	@touch $@

clean:
	rm -rf .venv .same build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
