"""Each extra brings one MLX backend, on every system and Python that the README names, from the
pinned versions; and no two installed packages own one file.

The first needs uv and a package index: it is slow, and skipped where there is neither.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path

import pytest

from harness.machine.installed import BACKENDS

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINS = (ROOT / "constraints.txt").read_text("utf-8").splitlines()

LINUX = ("x86_64-manylinux_2_35", "aarch64-manylinux_2_35")
SYSTEMS = {
    "metal": ("aarch64-apple-darwin",),
    "cpu": LINUX,
    "cuda12": LINUX,
    "cuda13": LINUX,
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def test_mlx_comes_by_the_extras_alone() -> None:
    mlx = ("mlx", "mkl")
    project = PYPROJECT["project"]
    assert not [one for one in project["dependencies"] if one.startswith(mlx)]
    extras = project["optional-dependencies"]
    assert set(extras) == {*BACKENDS, "dev"}
    assert not [one for one in extras["dev"] if one.startswith(mlx)]


def test_uv_refuses_two_of_them_by_itself() -> None:
    (conflicting,) = PYPROJECT["tool"]["uv"]["conflicts"]
    assert {one["extra"] for one in conflicting} == set(BACKENDS)


def test_no_two_installed_packages_own_one_file() -> None:
    owned = Counter(
        path
        for package in {one.name: one for one in distributions()}.values()
        for path in {str(file) for file in package.files or []}
    )
    assert len(owned) > 1000
    assert [path for path, owners in owned.items() if owners > 1] == []


def test_the_pins_are_in_order_and_each_stands_once() -> None:
    names = [pin.partition("==")[0].lower() for pin in PINS]
    assert len(set(names)) == len(names)
    assert sorted(PINS, key=str.lower) == PINS


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("extra", "system"), [(extra, one) for extra, systems in SYSTEMS.items() for one in systems]
)
def test_an_extra_resolves_to_pinned_wheels_and_one_backend(
    extra: str, system: str, python: str
) -> None:
    found = resolved(extra, system, python)
    backends = [name for name in BACKENDS.values() if any(f"{name}==" in one for one in found)]
    assert backends == [BACKENDS[extra]]
    pins = {pin.lower().replace("_", "-") for pin in PINS}
    assert [one for one in found if one.lower().replace("_", "-") not in pins] == []


def resolved(extra: str, system: str, python: str) -> list[str]:
    """What would be installed, wheels only, as `name==version`."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv")
    command = [uv, "pip", "compile", "-q", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python-platform", system, "--python-version", python, "-c", "constraints.txt"]
    command += ["--extra", "dev", "--extra", extra, "pyproject.toml"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
    )
    # uv's words where no index can be reached; any other failure is one of this project.
    if done.returncode and re.search("Failed to fetch|error sending request", done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return [line.partition(" ;")[0] for line in done.stdout.split("\n") if "==" in line]
