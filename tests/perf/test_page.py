"""results/PERFORMANCE.md is what its stored measurements render to."""

from __future__ import annotations

import json

from table import PAGE, STORE, render


def test_the_page_is_rendered_from_its_measurements() -> None:
    known = json.loads(STORE.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == render(known), "make perf writes it"


def test_every_miss_says_why() -> None:
    rows = json.loads(STORE.read_text(encoding="utf-8"))["rows"]
    missed = [name for name, row in rows.items() if row["verdict"] == "missed"]
    assert [name for name in missed if not rows[name]["reason"]] == []
