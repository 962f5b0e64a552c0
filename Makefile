# `make demo` and `make test` need Python 3.11+ and make, nothing else: both
# build a virtual environment inside the checkout first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test docs site changelog dist lint types env clean

# Torch first, pinned: a ranged requirement may bring gigabytes of CUDA packages.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[plotting]"
	touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[activeml,plotting]" --group tests
	touch $@

$(VENV)/.docs: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group docs
	touch $@

$(VENV)/.release: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group release
	touch $@

env: $(VENV)/.test

# One thread: the networks are small, and a second one waits where the cores are busy.
demo: $(VENV)/.demo
	MPLBACKEND=Agg OMP_NUM_THREADS=1 $(BIN)/python examples/plot_01_quickstart.py

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

# One process a core, one thread each: the networks of the tests are small.
test: lint types
	MPLBACKEND=Agg OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --durations=20

# Warnings are errors. The gallery runs every example, each once, without data of
# one's own: the numbers on the pages are those anyone gets. All pages are read anew
# (-E): of the others, the search would forget the index entries.
docs: $(VENV)/.docs
	env -u SKADISTILL_DATA OMP_NUM_THREADS=1 \
		$(BIN)/python -m sphinx -E -W --keep-going docs docs/_build/html

# One folder per version; "stable" is the last one built. Serve docs/_build/site as it
# is: its first page leads to "stable".
site: docs
	version=$$($(BIN)/python -c "import skadistill; print(skadistill.__version__)") && \
		cd docs/_build && mkdir -p site && rm -rf site/$$version && \
		cp -r html site/$$version && ln -sfn $$version site/stable && \
		echo '<meta http-equiv="refresh" content="0; url=stable/">' > site/index.html

# The fragments in docs/changes become the section of this version in the changelog.
changelog:
	$(PYTHON) docs/_extensions/changes.py

# Built and checked, into dist/.
dist: $(VENV)/.release
	@! grep -n "example.org" pyproject.toml || { echo "set [project.urls] first"; exit 1; }
	rm -rf build dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

clean:
	cd docs && rm -rf _build assembled auto_examples reference results
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
