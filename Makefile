# `make bench VARIANT=qlora` runs the benchmark, `make test` its tests; CONTRIBUTING.md: the loop.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VARIANT ?= qlora
# Which MLX: metal on a Mac, cuda13 or cuda12 by the NVIDIA driver, else cpu. EXTRA=cpu overrules it;
# another backend that is there is uninstalled first.
EXTRA ?= $(shell $(if $(SOUND),$(BIN)/python,$(PYTHON)) -m harness.machine.installed 2> /dev/null)

SUITS := import platform, sys; \
  version = ".".join(map(str, sys.version_info[:3])); \
  intel = platform.system() == "Darwin" and platform.machine() == "x86_64"; \
  sys.exit("tunebench: Python 3.11 or newer is needed, and %s is %s. Install one and name it: \
  make PYTHON=python3.12" % (sys.executable, version) if sys.version_info < (3, 11) else \
  "tunebench: %s is built for Intel, and MLX needs an arm64 Python on Apple silicon. Install one \
  and name it: make PYTHON=/opt/homebrew/bin/python3" % sys.executable if intel else 0)
SOUND := $(shell exec 2> /dev/null; $(BIN)/python -c '$(SUITS)' && echo sound)

.PHONY: environment check test test-all test-rounding test-mac lint house bench perf simulate faults clean

# After every edit, half a minute: lint, types, import contracts, the tests of what changed.
check: $(VENV)/.ready
	$(BIN)/python tests/check.py

# Two workers of one thread each: models this small gain nothing from a second. Long files first.
# Compiled modules are kept: a setting against that costs every process of the tests a third more.
test test-all: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -n 2 --dist loadfile \
	  --no-loadscope-reorder --durations=10

# The numeric tests under every BLAS setting that this machine can run: a table.
test-rounding: $(VENV)/.ready
	$(BIN)/python tests/rounding_runs.py

# The slow tests too: ranks, kill -9, every family of models, smollm2 where it is in the cache.
# What is measured (ratios of speed, memory over many runs) runs alone, after the others, and so do
# smollm2's trainings, which gain from a second thread.
ALONE := tests/perf/test_claims.py tests/faults/test_soak.py tests/results/test_gate_proof.py
test-all: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -m "" -n 2 --dist loadfile \
	  --no-loadscope-reorder --durations=20 $(addprefix --ignore=,$(ALONE))
	$(BIN)/python -m pytest $(ALONE) -q -m ""

# All but what computes with a model, as on a Mac: tests/as_on_a_mac has what differs.
test-mac: $(VENV)/.ready
	$(BIN)/python -m tests.as_on_a_mac.mac $(addprefix tests/,cache cli data machine results sql)

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

# The simulations behind the docs' claims; they write the tables that the docs show. Minutes.
simulate: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.sql.simulate_lucky_answers --docs
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.results.simulate_gates --docs
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.results.simulate_comparisons --docs

# Kills, damage, full disks, commands at once, hostile input: the table of docs/recovery.md. Minutes.
faults: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.figures --docs

# Where EXTRA is given, the environment must have been made with it: its name stands in .ready.
GIVEN := $(filter command environment,$(firstword $(origin EXTRA)))
OTHER := $(if $(GIVEN),$(shell grep -qsx '$(EXTRA)' $(VENV)/.ready || echo another-backend))
.PHONY: another-backend

$(VENV)/.ready: pyproject.toml constraints.txt $(if $(SOUND),,environment) $(OTHER)
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --quiet --upgrade pip
	gone=$$($(BIN)/python -m harness.machine.installed "$(EXTRA)") && \
	  { [ -z "$$gone" ] || $(BIN)/python -m pip uninstall --quiet -y $$gone; }
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,$(EXTRA)]"
	echo '$(EXTRA)' > $@

# Made anew where it has no Python that suits; one with another Python than $(PYTHON) is kept.
environment:
	@$(PYTHON) -c '$(SUITS)' && $(PYTHON) -m venv --clear $(VENV)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
