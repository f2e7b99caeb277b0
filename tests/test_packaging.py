"""What `pip install .` copies: every package of harness/, with the files that are not Python."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]


def test_the_list_of_packages_is_that_of_the_folders() -> None:
    found = [path.parent for path in (ROOT / "harness").rglob("__init__.py")]
    names = sorted(".".join(folder.relative_to(ROOT).parts) for folder in found)
    assert len(names) >= 20
    shipped = ["harness.shipped.fixtures", "harness.shipped.suites"]
    assert SETUPTOOLS["packages"] == sorted([*names, *shipped])
    assert [*SETUPTOOLS["package-dir"]] == shipped


def test_every_file_that_is_not_python_is_package_data() -> None:
    places = SETUPTOOLS["package-dir"]
    packaged = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / places.get(package, package.replace(".", "/"))).glob(pattern)
    }
    others = {
        path
        for folder in ("harness", "fixtures", "suites")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert len(others) >= 20
    assert packaged == others
