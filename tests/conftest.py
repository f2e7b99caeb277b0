"""What every folder of tests may use, the numeric tests, and the order of the files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness.disk.kernels import FOLDER_VARIABLE
from tests import forks
from tests import two_layers as model

# How long an example takes says what else the machine does.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

TESTS = Path(__file__).resolve().parent

# Compiling MLX's kernels takes longer than most tests: one folder for all caches of the tests.
os.environ.setdefault(FOLDER_VARIABLE, f"{tempfile.gettempdir()}/tunebench-tests-{os.getuid()}")

NUMERIC = (
    *(f"models/test_models_{name}.py" for name in ("accelerate", "fast_loss", "folding")),
    *("models/test_models_vector_exp.py", "models/test_families.py"),
    *(f"measure/test_{name}.py" for name in ("loss", "compat", "parity", "generate")),
    *("measure/test_measure_on_models.py", "measure/test_continuous_batching.py"),
    *(f"train/test_{name}.py" for name in ("finetune", "fuse", "objective", "resume")),
)
"""Files whose results depend on how a BLAS rounds; `make test-rounding` runs them under many."""

LONG = (
    "pipeline/test_end_to_end.py",
    "pipeline/test_bad_input.py",
    "models/test_models_vector_exp.py",
    "test_lint.py",
    "faults/test_kill.py",
    "train/test_finetune.py",
)
"""Files that take longest, the longest first: begun first, so that no worker ends on one alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the numeric tests, and put the long files first."""
    names = {item.path: item.path.relative_to(TESTS).as_posix() for item in items}
    for item in items:
        if names[item.path] in NUMERIC:
            item.add_marker("numeric")
    place = {name: at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(names[item.path], len(LONG)))


def pytest_unconfigure() -> None:
    """End the process that commands are forked from."""
    forks.close()


@pytest.fixture(scope="session")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a two-layer model of tiny's kind."""
    return model.write(tmp_path_factory.mktemp("models") / "two-layers")
