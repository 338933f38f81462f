# `make example` paints a picture, `make test` runs the tests; each first sets up what it needs in .venv.
# Needed: Python 3.11 or later with its venv module, make, a package index, and 3 GB of disk.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: example test lint clean

example: .venv/installed
	mkdir -p example
	$(BIN)/neural-style --recipe best --content data/still_life.jpg --styles data/mosaic.jpg \
		--output example/picture.png --overwrite --network small --width 448 --seed 1

test: .venv/installed
	$(BIN)/python -m pytest -q -n auto --dist worksteal

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[plot,test]'
	touch $@

clean:
	rm -rf .venv example build *.egg-info
