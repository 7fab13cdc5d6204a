# make demo   `kdda try`, a minute, then the recipe `demo`: two teachers, four arms at three seeds (five minutes on two cores)
# make test   lint, types and the whole test suite, which builds the documentation with warnings as errors
# make lint   ruff and mypy, which `make test` runs first
# make docs   the documentation as a site, in docs/_build/html
# make .venv  only install

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint house docs .venv clean

demo: .venv
	$(BIN)/kdda try
	$(BIN)/kdda run demo --workers 2
	$(BIN)/kdda report runs/classify

SOURCES := src tests bench tools examples docs/conf.py noxfile.py

lint: .venv
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

house: .venv
	$(BIN)/pytest tests/test_house.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

docs: .venv
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html
	@echo docs/_build/html/index.html

.venv: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kdda needs Python 3.11 or newer, found " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv runs docs/_build
