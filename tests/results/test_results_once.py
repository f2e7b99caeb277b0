"""What a command needs is read, compared and judged once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from results_sample import memory_run, write_sample

from harness.cli.runs import compare_command, report_command
from harness.compare import analysis, gates
from harness.compare.analysis import analyse
from harness.compare.thresholds import load_gates
from harness.pipeline.seed_run import SeedRun
from harness.runs import store

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "smollm2-mini"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each row file was read."""
    found: Counter[Path] = Counter()
    read_rows = store._read_rows

    def count(file: Path, kind: Any) -> Any:
        found[file] += 1
        return read_rows(file, kind)

    monkeypatch.setattr(store, "_read_rows", count)
    return found


@pytest.mark.slow
def test_a_report_with_charts_and_page_reads_each_row_file_once(
    tmp_path: Path, reads: Counter[Path]
) -> None:
    report_command([str(PUBLISHED)], tmp_path, html=True)
    stored = set(PUBLISHED.glob("*.jsonl"))
    assert stored <= set(reads)
    assert set(reads.values()) == {1}


def test_a_comparison_reads_each_row_file_once(tmp_path: Path, reads: Counter[Path]) -> None:
    for name in ("a", "b"):
        write_sample(tmp_path, name)
    reads.clear()
    compare_command(str(tmp_path / "a"), str(tmp_path / "b"))
    assert len(reads) > 6
    assert set(reads.values()) == {1}


def test_an_analysis_compares_each_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: Counter[tuple[str, str]] = Counter()
    compare = analysis.match_if_paired

    def count(a: Any, b: Any) -> Any:
        compared[a.variant, b.variant] += 1
        return compare(a, b)

    monkeypatch.setattr(analysis, "match_if_paired", count)
    found = analyse([memory_run()])
    assert len(found.pairs) == len(compared) == 3
    assert found.records == [record for pair in found.pairs for record in pair.primary]
    assert (found.refused, found.seed_differences) == ([], [])
    assert set(compared.values()) == {1}


def test_a_gated_run_is_judged_once_for_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    judge = gates.judge

    def count(*given: Any) -> Any:
        judged.append(given)
        return judge(*given)

    monkeypatch.setattr(gates, "judge", count)
    run = object.__new__(SeedRun)
    rules = load_gates()
    run.invocation = SimpleNamespace(baseline=memory_run("old"), gates=rules)  # type: ignore[assignment]
    measured = SimpleNamespace(requested={"loss"})
    run.variants = {"lora": measured}  # type: ignore[dict-item]
    run._judged = {}
    monkeypatch.setattr(run, "_pending", lambda: memory_run("new"))
    first = [run.gate() for _ in range(2 * len(rules))]
    assert len(judged) == 1
    assert all(verdicts == first[0] for verdicts in first)
    measured.requested.add("execution")
    run.gate()
    assert len(judged) == 2
