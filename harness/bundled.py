"""Where the files that come with the library are: `fixtures/` beside `harness/`.

Every other module takes the paths from here, so only this one knows the layout of a checkout.
"""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
"""The checkout that this library is part of."""

FIXTURES = PROJECT_ROOT / "fixtures"
"""Embedded data, variants, gate thresholds and the published article's numbers."""
