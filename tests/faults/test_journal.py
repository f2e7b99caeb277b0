"""Rows of an unfinished evaluation: kept in whole batches, damaged ones computed again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from damaging import flipped

from harness.disk.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Three batches of two rows."""
    kept = Journal(tmp_path / "rows.journal", {"kernels": 1}, lambda: {"wall_s": 1.5})
    for start in (0, 2, 4):
        kept.add({start: {"text": "a"}, start + 1: {"text": "b"}})
    return tmp_path / "rows.journal"


def test_rows_are_kept_for_the_same_kernels_only(journal: Path) -> None:
    kept = Journal(journal, {"kernels": 1})
    assert kept.rows == {i: {"text": "ab"[i % 2]} for i in range(6)}
    assert kept.notes == [{"wall_s": 1.5}] * 3
    assert Journal(journal, {"kernels": 2}).rows == {}
    assert Journal(journal, {"kernels": 1}).rows == {}


def test_a_torn_last_batch_is_computed_again(journal: Path) -> None:
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in (len(whole) - 1, len(whole) - 30, len(whole) - len(lines[-1]) + 1):
        journal.write_bytes(whole[:length])
        kept = Journal(journal, {"kernels": 1})
        assert sorted(kept.rows) == [0, 1, 2, 3]
        kept.add({4: {"text": "a"}, 5: {"text": "b"}})
        assert sorted(Journal(journal, {"kernels": 1}).rows) == [0, 1, 2, 3, 4, 5]


def test_a_flipped_bit_never_gives_another_row(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = journal.read_bytes()
    expected = Journal(journal, {"kernels": 1}).rows
    for seed in range(200):
        journal.write_bytes(flipped(whole, random.Random(seed)))
        kept = Journal(journal, {"kernels": 1})
        assert kept.rows.items() <= expected.items()
        assert len(kept.rows) <= 4 or kept.rows == expected
    assert f"{journal} is damaged in line" in capsys.readouterr().err


def test_a_file_that_is_removed_under_it_is_written_anew_with_all_rows(journal: Path) -> None:
    kept = Journal(journal, {"kernels": 1})
    journal.unlink()
    kept.add({6: {"text": "c"}})
    again = Journal(journal, {"kernels": 1})
    assert again.rows == kept.rows
    assert len(again.rows) == 7
