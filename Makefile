# Two commands do everything: `make bench VARIANT=qlora` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VARIANT ?= qlora

.PHONY: test test-all lint house bench perf clean

test: $(VENV)/.ready
	$(BIN)/python -m pytest tests -q -n 2 --dist loadfile --durations=10

test-all: $(VENV)/.ready
	$(BIN)/python -m pytest tests -q -m "" --durations=20

lint: $(VENV)/.ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Files, lines, folders, circles, functions, import contracts: the figures of docs/architecture.md.
house: $(VENV)/.ready
	$(BIN)/python tests/house.py

bench: $(VENV)/.ready
	$(BIN)/python -m pytest suites/ --variant=$(VARIANT) $(ARGS)

# Speed and memory against the alternatives: results/PERFORMANCE.md. About 30 quiet minutes; some
# rows by ROWS="score or collect", those that a cut-off run lacks by MISSING=1.
perf: $(VENV)/.ready
	MISSING=$(MISSING) $(BIN)/python -m pytest tests/perf -o python_files='bench_*.py' -q -s \
	  $(if $(ROWS),-k "$(ROWS)")

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
