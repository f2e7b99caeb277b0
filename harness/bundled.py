"""Where the files that come with the library are: beside `harness/`, or in it in a wheel.

Every other module takes the paths from here, so only this one knows both layouts (that of a wheel
is made by `[tool.setuptools.package-dir]` in pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
"""The checkout that this library is part of; of an installed wheel the folder of all packages."""

_IN_A_WHEEL = Path(__file__).resolve().parent / "shipped"
IS_CHECKOUT = not _IN_A_WHEEL.is_dir()
_HOME = PROJECT_ROOT if IS_CHECKOUT else _IN_A_WHEEL

FIXTURES = _HOME / "fixtures"
"""Embedded data, variants, gate thresholds and the published article's numbers."""

SUITES = _HOME / "suites"
"""What `tunebench bench` runs."""
