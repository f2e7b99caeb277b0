"""What is committed under results/ and in the README is what the store gives today."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_sample import memory_run, page_of, report_of

from harness.bundled import PROJECT_ROOT
from harness.compare.analysis import analyse
from harness.protocols import COMPARISON
from harness.report.columns import available_charts, columns_of
from harness.report.leaderboard import (
    END,
    PAGE_TITLE,
    START,
    leaderboard,
    published_runs,
    published_seeds,
    readme_table,
)
from harness.report.page.page import render_document
from harness.report.write import write_run
from harness.runs.file_names import PAGE_FILE, REPORT_FILE
from harness.runs.store import PendingRun, read_run
from harness.stats.rates import clustered_rate

RESULTS = PROJECT_ROOT / "results"
REMEDY = "stale: run `python -m harness.report.leaderboard RUN` and commit"


def test_the_leaderboard_is_not_stale() -> None:
    if published_runs(RESULTS):
        text = (RESULTS / "README.md").read_text(encoding="utf-8")
        assert text == leaderboard(RESULTS), REMEDY
        page = (RESULTS / PAGE_FILE).read_text(encoding="utf-8")
        assert page == render_document(PAGE_TITLE, text), REMEDY
        assert 'href="smollm2-mini/index.html"' in page
        assert "<script" not in page


def test_the_readmes_table_is_generated_from_a_published_run() -> None:
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition(START)[2].partition(END)[0].strip()
    runs = published_runs(RESULTS)
    if runs:
        assert block in {readme_table(run) for run in runs}, REMEDY
    else:
        assert block == ""


def test_the_readmes_answers_of_the_files_own_bits_are_those_of_lora() -> None:
    """README: all 1,000 answers, and the same loss to a millionth."""
    seeds = [read_run(PROJECT_ROOT / "results" / "smollm2-mini-seeds" / f"smollm2-mini-seed{n}")
             for n in range(5)]  # fmt: skip
    answers = {name: [row.text for run in seeds for row in run.predictions(name) or []]
               for name in ("lora", "qlora-source")}  # fmt: skip
    assert len(answers["lora"]) == 1_000
    assert answers["lora"] == answers["qlora-source"]
    for run in seeds:
        lora, source = (run.results.variants[name].loss for name in answers)
        assert lora is not None
        assert source is not None
        assert source.completion.loss == pytest.approx(lora.completion.loss, rel=1e-6)


def test_every_published_report_is_what_its_files_give() -> None:
    seeds = [run for runs in published_seeds(RESULTS).values() for run in runs]
    for run in [*published_runs(RESULTS), *seeds]:
        written = (run.folder / REPORT_FILE).read_text(encoding="utf-8")
        assert written == report_of(run), f"{run.id}: {REMEDY}"


@pytest.mark.slow
def test_every_published_page_is_what_its_files_give() -> None:
    for run in published_runs(RESULTS):
        written = (run.folder / PAGE_FILE).read_text(encoding="utf-8")
        # A chart's bytes are matplotlib's, whose versions differ in a coordinate's last digit.
        names = available_charts(columns_of([run]))
        charts = {name: (run.folder / name).read_text(encoding="utf-8") for name in names}
        assert written == page_of(run, charts=charts), f"{run.id}: {REMEDY}"


@pytest.mark.slow
def test_every_stored_comparison_is_what_its_rows_give() -> None:
    """All of a record of `comparison@2`; of older ones what both definitions share."""
    seeds = [run for runs in published_seeds(RESULTS).values() for run in runs]
    for run in [*published_runs(RESULTS), *seeds]:
        again, stored = analyse([run]).records, run.results.comparisons
        assert [(c.a, c.b, c.metric) for c in again] == [(c.a, c.b, c.metric) for c in stored]
        for new, old in zip(again, stored, strict=True):
            if run.results.protocols.comparison == COMPARISON:
                place = f"{run.id}: {old.metric} of {old.b} beside {old.a}"
                # The sums of flips are exact since; those that are stored were rounded. What is
                # searched for is found to a relative 1e-4, on either side.
                near = {"ci95": 1e-9, "minimum_detectable": 2e-4}
                assert new.model_dump(exclude={*near}) == old.model_dump(exclude={*near}), place
                for name, rel in near.items():
                    ours, theirs = getattr(new, name), getattr(old, name)
                    expected = theirs and pytest.approx(theirs, rel=rel, abs=1e-12)
                    assert ours == expected, place
            assert new.delta == pytest.approx(old.delta)
            assert (new.fixed, new.broken) == (old.fixed, old.broken)


def test_every_stored_rate_and_interval_is_what_its_rows_give() -> None:
    seeds = [run for runs in published_seeds(RESULTS).values() for run in runs]
    for run in [*published_runs(RESULTS), *seeds]:
        for name, result in run.results.variants.items():
            rows, execution = run.predictions(name), result.execution
            if not rows or execution is None:
                continue
            graded = [row for row in rows if row.ex is not None]
            right = [bool(row.ex) for row in graded]
            assert execution.ex == sum(right) / len(right)
            if run.results.protocols.comparison == COMPARISON:
                tables = [row.table_id for row in graded]
                assert execution.clustered_ci95 == pytest.approx(clustered_rate(right, tables))


@pytest.mark.slow
def test_a_record_of_today_is_what_its_rows_give_after_it_was_written(tmp_path: Path) -> None:
    run = memory_run("a")
    pending = PendingRun(tmp_path / "a", run.results, None, run.rows)
    write_run(pending, analyse([pending]))
    again = read_run(tmp_path / "a")
    assert again.results.comparisons
    assert analyse([again]).records == again.results.comparisons
