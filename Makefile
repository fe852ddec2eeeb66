# Every target sets up what it needs in .venv; a second run installs nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PLUGINS := $(sort $(wildcard plugins/*/pyproject.toml))
EDITABLE := $(foreach p,$(PLUGINS),-e $(patsubst %/,%,$(dir $(p))))
NAME   ?= $(if $(wildcard registry/vaebm-celeba/model.yaml),vaebm-celeba,glow-fashion)

.PHONY: help install sample test test-page lint format bench wheel site docs clean

help:
	@echo "make install   the command dgm, with every plugin and all extras, in $(VENV)"
	@echo "make sample    16 samples of $(NAME) as a picture (NAME=... for another model)"
	@echo "make test      all tests"
	@echo "make test-page the page of dgm serve in a headless Chromium, if there is one"
	@echo "make lint      style, formatting, the directions of imports, and types"
	@echo "make bench     speed, side by side with other libraries"
	@echo "make wheel     the wheels of the core and of every plugin in dist/; weights that are on a Hub stay there"
	@echo "make site      the documentation with the API as a site in site/"
	@echo "make docs      rewrite docs/cli.md, docs/models.md and the README's table"

install: $(VENV)/.dev

# what sampling needs: the core and the plugins
$(VENV)/.runtime: pyproject.toml constraints.txt $(PLUGINS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing dgmcore and its plugins into $(VENV) (about two minutes the first time)" >&2
	@$(PIP) -e . $(EDITABLE)
	@touch $@

# what development needs as well: extras, test and lint tools
$(VENV)/.dev: $(VENV)/.runtime
	@echo "installing the extras and the development tools into $(VENV)" >&2
	@$(PIP) -e ".[train,eval,latent,plots,authors,dev]"
	@touch $@

sample: $(VENV)/.runtime
	@$(BIN)/dgm sample $(NAME)

test: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# a browser of the system's, driven by playwright; skipped where there is none
test-page: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q plugins/dgm-serve/tests/page_*.py $(ARGS)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev
	@$(BIN)/python benchmarks/run.py $(ARGS)

wheel:
	@$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist . $(patsubst -e,,$(EDITABLE))

# needs no network once it is installed
site: $(VENV)/.dev
	@test -x $(BIN)/mkdocs || $(PIP) -e ".[docs]"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(VENV)/.dev
	@$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) dist runs site .ruff_cache .mypy_cache .import_linter_cache
