# Two commands do everything on a fresh machine: `make compare` and `make test`. Both create .venv if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 6
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: compare inspect gpu docs pictures gallery test lint types layers unit coverage test-oldest smoke-oldest format clean

# installed anew when the requirements change; the stamp is written only after pip succeeded
$(VENV)/installed: pyproject.toml dynpool/common/version.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[dev]' || \
		{ echo "the newest versions cannot be installed: trying those of constraints.txt"; \
		$(INSTALL) --constraint constraints.txt --editable '.[dev]'; }
	touch $@

compare: OUT ?= runs/digits-tile
compare: $(VENV)/installed
	$(BIN)/dynpool compare configs/digits-tile.yaml --out $(OUT) --resume

inspect: OUT ?= runs/digits-inspect
inspect: $(VENV)/installed
	$(BIN)/dynpool compare configs/digits-inspect.yaml --out $(OUT) --resume
	$(BIN)/dynpool inspect $(OUT)

# on a machine with a GPU, with what is installed there: see benchmarks/gpu/README.md
gpu: OUT ?= runs/gpu
gpu:
	PYTHONPATH=. $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu --out $(OUT) --minutes $(MINUTES) $(FLAGS)

# the site, into site/; a link that leads nowhere is an error. To read it: python -m http.server --directory site
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: $(VENV)/installed
	$(BIN)/python -m docs.pictures

gallery: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.gallery

test: lint types layers unit

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

layers: $(VENV)/installed
	$(BIN)/lint-imports

# tests run side by side, one thread each; doctests of the packages included
unit: $(VENV)/installed
	OMP_NUM_THREADS=1 KERAS_BACKEND=torch $(BIN)/python -m pytest --numprocesses=auto --doctest-modules

# which lines and branches the tests run: a table, and htmlcov/index.html; TESTS=tests/dynpool/cli for one area
coverage: TESTS ?=
coverage: $(VENV)/installed
	OMP_NUM_THREADS=1 KERAS_BACKEND=torch $(BIN)/python -m pytest --numprocesses=auto --cov --cov-report=term \
		--cov-report=html $(TESTS)

# the suite with the lowest versions that pyproject.toml allows, in an environment of its own
OLDEST := .venv-oldest/bin
INSTALL_OLDEST = test -x $(OLDEST)/python || $(PYTHON) -m venv .venv-oldest; \
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check --constraint tests/oldest.txt --editable
test-oldest:
	$(INSTALL_OLDEST) '.[dev]'
	OMP_NUM_THREADS=1 KERAS_BACKEND=torch $(OLDEST)/python -m pytest --numprocesses=auto --doctest-modules

# a minute of the main commands with those versions; where they cannot be installed, it says so and fails nothing
smoke-oldest: OUT ?= runs/smoke-oldest
smoke-oldest:
	@if { $(INSTALL_OLDEST) '.[train]'; }; then set -ex; \
		$(OLDEST)/dynpool doctor; \
		$(OLDEST)/dynpool analyze resnet18 --input-size 64 --quiet; \
		rm -rf $(OUT); \
		$(OLDEST)/dynpool compare configs/digits-tile.yaml --methods '[human, dynopool]' --seeds '[0]' --epochs 1 \
			--out $(OUT); \
	else echo "NOT TESTED: the oldest versions cannot be installed here (tests/oldest.txt)"; fi

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-oldest runs site htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
