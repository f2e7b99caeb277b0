"""Where the files that come with the library lie: `fixtures/` beside `harness/`.

Every other module asks here, so that the layout of a checkout is known in one place.
"""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[1]
"""The checkout that this library is part of."""

FIXTURES = PROJECT_ROOT / "fixtures"
"""Embedded data, variants, gate thresholds and the published article's numbers."""
