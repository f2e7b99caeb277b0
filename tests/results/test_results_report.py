"""report.md: golden files, the article's order, provenance, hostile text, partial runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from results_sample import (
    MemoryRun,
    memory_run,
    page_of,
    report_of,
    sample_results,
    sample_rows,
    tables_without_origin,
    write_compared,
)

from harness.compare.analysis import analyse
from harness.markdown import code, duration, escape, gigabytes, percent, table
from harness.report.article import load_article
from harness.report.columns import columns_of
from harness.report.report import job_summary
from harness.report.tables.quality_tables import by_aggregate, summary
from harness.report.tables.question_tables import show_rows
from harness.report.warnings import warnings
from harness.runs.store import RunRows
from harness.schema.variant_result import VariantResult
from harness.stats.rates import clopper_pearson

GOLDEN = Path(__file__).parent / "golden"


def check_golden(name: str, text: str) -> None:
    """Compare with a golden file; `UPDATE_GOLDEN=1` rewrites it."""
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run() -> MemoryRun:
    return memory_run()


def test_the_report_is_the_golden_one(run: MemoryRun) -> None:
    check_golden("report.md", report_of(run))


def test_a_sweep_shows_its_values_beside_accuracy_and_cost(run: MemoryRun) -> None:
    variants = dict(run.results.variants)
    config = {**variants["lora"].config, "swept": {"quantize.bits": 8}}
    variants["lora"] = variants["lora"].model_copy(update={"config": config})
    results = run.results.model_copy(update={"variants": variants})
    lines = summary(columns_of([dataclasses.replace(run, results=results)])).splitlines()
    header, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert header[:3] == ["Variant", "quantize.bits", "Completion loss"]
    assert [row[:2] for row in rows[1:]] == [["base", "–"], ["lora", "8"], ["qlora", "–"]]


def test_the_report_with_the_article_is_the_golden_one(run: MemoryRun) -> None:
    check_golden("report_article.md", report_of(run, article=load_article()))


def test_the_job_summary_is_the_golden_one(run: MemoryRun) -> None:
    check_golden("job_summary.md", job_summary(analyse([run])))


def headings(report: str) -> list[str]:
    return re.findall(r"^#{2,3} (.*)$", report, re.M)


def test_tables_come_in_the_order_of_a_readers_questions(run: MemoryRun) -> None:
    report = report_of(run)
    assert headings(report) == [
        "Comparisons", "Paired, on the same examples",
        "Execution accuracy", "By definition", "Failures by kind", "By kind of question",
        "Loss", "Test loss and perplexity", "Loss by iteration",
        "Cost", "Wall time", "Memory while fine-tuning", "Memory while evaluating",
        "Size of the model", "Parameters tuned", "Speed trials",
        "Fusing", "Adapter, fused and dequantized", "Memory while fusing",
        "Checkpoints", "Checkpoints",
        "Questions about one table", "Questions right", "The questions",
    ]  # fmt: skip
    assert report.index("What may be claimed") < report.index("| Variant") < report.index("## ")


def test_beside_the_article_tables_come_in_its_order(run: MemoryRun) -> None:
    assert headings(report_of(run, article=load_article())) == [
        "Fine-tuning", "Loss by iteration", "Parameters tuned", "Wall time",
        "Memory while fine-tuning", "Evaluation", "Test loss and perplexity",
        "Memory while evaluating", "Fusing", "Size of the model", "Memory while fusing",
        "Generating SQL",
        "The questions", "Questions right", "Speed of generation", "Speed trials",
        "Execution accuracy", "By definition", "Failures by kind", "By kind of question",
        "Checkpoints", "Fuse parity", "Adapter, fused and dequantized", "Comparisons",
        "Paired, on the same examples", "The published numbers",
    ]  # fmt: skip


def test_every_table_says_how_it_was_measured_and_the_machine_stands_once(run: MemoryRun) -> None:
    report = report_of(run)
    assert tables_without_origin(report) == []
    assert tables_without_origin(job_summary(analyse([run]))) == []
    for part in ("cpu with mkl, 16.0 GB", "mlx 0.32.4", "commit 0123456789ab", "`pytest suites/"):
        assert report.count(part) == 1, part
    for section in re.split(r"^### ", report, flags=re.M)[1:]:
        small = re.findall(r"How it was measured</summary>\n\n<sub>(.*?)</sub>", section)
        assert len(small) == 1, section[:60]


def test_an_answer_that_never_ends_is_cut_in_the_report(run: MemoryRun) -> None:
    questions = run.results.variants["lora"].questions
    assert questions
    endless = [answer.model_copy(update={"text": "9" * 1_240}) for answer in questions]
    report = report_of(only(run, questions=endless))
    assert f"{'9' * 240}… (1,000 more characters)`" in report
    assert "9" * 241 not in report


def test_ratio_lines_are_computed(run: MemoryRun) -> None:
    report = report_of(run, article=load_article())
    # Sample speeds: lora (300 + 301 + 302 + 303) / base (320 + ... + 323).
    assert "`Prompt tokens/s`: lora is 0.94 times base" in report
    assert "8.87 times; its own figures give 6.87" in report


def test_contended_timings_give_no_ratio() -> None:
    report = report_of(memory_run(contended=True))
    assert "times base" not in report
    assert "none: the machine was busy while timing (contended)" in report
    beside = report_of(memory_run(contended=True), article=load_article())
    assert "No ratio: the machine was busy" in beside
    assert "is 0.94 times base" not in beside


def only(run: MemoryRun, **sections: object) -> MemoryRun:
    variants = {
        name: result.model_copy(update=sections) for name, result in run.results.variants.items()
    }
    return dataclasses.replace(run, results=run.results.model_copy(update={"variants": variants}))


def test_a_partial_run_says_so_and_has_no_empty_headings() -> None:
    partial = memory_run(partial=["execution", "throughput"])
    nothing = {
        name: None for name in VariantResult.model_fields if name not in {"config", "finetune"}
    }
    report = report_of(only(partial, **nothing))
    assert "> Partial: not selected were execution, throughput." in report
    assert "## Fusing" not in report
    assert "accuracy.svg" not in report
    assert "### Loss by iteration" in report


def test_a_limited_variant_carries_n_of_m_and_the_seed(run: MemoryRun) -> None:
    result = run.results.variants["lora"]
    assert result.execution is not None
    limited = only(run, execution=result.execution.model_copy(update={"of": 200}))
    report = report_of(limited)
    assert "n = 60 of 200, seed 0 test examples" in report
    together = report_of(limited, memory_run("full"))
    assert "sample:lora (60 of 200, seed 0)" in together
    assert "full:lora (" not in together


def test_the_sample_of_a_run_without_execution_is_the_losss(run: MemoryRun) -> None:
    loss = run.results.variants["lora"].loss
    assert loss is not None
    limited = only(run, execution=None, loss=loss.model_copy(update={"n": 8}))
    assert "n = 8 of 60, seed 0 test examples" in report_of(limited)
    assert "60 test examples" not in report_of(only(run, execution=None, loss=None))


def test_cached_and_contended_training_times_are_marked(run: MemoryRun) -> None:
    finetune = run.results.variants["lora"].finetune
    assert finetune is not None
    marked = finetune.model_copy(update={"cached": True, "contended": True})
    report = report_of(only(run, finetune=marked))
    assert "3 min 46 s (cached, contended)" in report
    note = "cached, taken 2026-11-24T20:08:00Z on Sample CPU, 2 cores, contended"
    assert report.count(f"{note} |") == 2
    assert f"- Tokens/s of lora: {note}." in report


def test_cached_and_contended_speeds_are_marked(run: MemoryRun) -> None:
    throughput = run.results.variants["lora"].throughput
    assert throughput is not None
    cached = throughput.model_copy(update={"cached": True})
    report = report_of(
        only(run, throughput=cached, questions=run.results.variants["lora"].questions)
    )
    speed = f"{throughput.generation_tokens_per_s:.1f} (cached)"
    assert speed in report
    assert f"| {throughput.measured_at} | cached |" in re.sub(" +", " ", report)


def test_how_trials_were_interleaved_is_said_where_it_is_known(run: MemoryRun) -> None:
    throughput = run.results.variants["lora"].throughput
    assert throughput is not None
    known = throughput.model_copy(update={"interleaving": "reloaded each round"})
    report = report_of(only(run, throughput=known))
    assert (
        "- The trials of lora were interleaved with the other variants', reloaded each round."
        in report
    )
    assert "were interleaved with" not in report_of(run)


def test_the_interval_that_was_used_is_the_one_named(run: MemoryRun) -> None:
    now = "ex interval: 95% Clopper-Pearson with n/deff, over tables or, of fewer than six,"
    assert now in report_of(run)
    stored = dataclasses.replace(run, rows=RunRows())  # nothing to recompute from
    assert "ex interval: 95% cluster bootstrap over tables (comparison@1) ·" in report_of(stored)
    protocols = run.results.protocols.model_copy(update={"comparison": "comparison@2"})
    results = run.results.model_copy(update={"protocols": protocols})
    assert now in report_of(dataclasses.replace(stored, results=results))


def test_a_rate_of_a_small_group_has_its_interval(run: MemoryRun) -> None:
    # Clopper-Pearson of 5 of 12: scipy.stats.binomtest gives 15.2 to 72.3%. Older runs have none.
    group = {
        "MAX": {"n": 12, "ex": 5 / 12, "ci95": clopper_pearson(5, 12)},
        "MIN": {"n": 12, "ex": 5 / 12},
        "AVG": {"n": 0, "ex": None},
    }
    raw = run.results.variants["lora"].model_dump(mode="json", by_alias=True)
    raw["execution"]["by_agg"] = group
    text = by_aggregate(columns_of([only_lora(run, raw)]))
    assert "41.7% (15.2 to 72.3%, 12)" in text
    assert "41.7% (12)" in text
    assert "– (0)" in text


def only_lora(run: MemoryRun, raw: dict[str, Any]) -> MemoryRun:
    """The run with one variant, given as JSON."""
    results = run.results.model_copy(
        update={"variants": {"lora": VariantResult.model_validate(raw)}, "comparisons": []}
    )
    return dataclasses.replace(run, results=results)


def test_a_skipped_dequantized_form_says_why(run: MemoryRun) -> None:
    assert (
        "- lora: dequantized form skipped, it would need 1.1 GB of memory, 0.9 are free."
        in report_of(run)
    )


def test_hostile_text_stays_inside_its_cell(run: MemoryRun) -> None:
    questions = run.results.variants["lora"].questions
    assert questions is not None
    text = "`x` | <script>alert(1)</script>\n| a | b |\n```"
    bad = questions[0].model_copy(update={"text": text, "question": "a|b <b>*c*</b>"})
    report = report_of(only(run, questions=[bad]))
    line = next(line for line in report.splitlines() if "alert(1)" in line)
    cells = re.split(r"(?<!\\)\|", line)
    assert len(cells) == 8
    assert "```` `x` \\| <script>alert(1)</script>⏎\\| a \\| b \\|⏎``` ````" in line
    assert "#### 1. a\\|b &lt;b\\>\\*c\\*&lt;/b\\>" in report


def test_several_runs_stand_side_by_side_and_unlike_ones_are_not_compared() -> None:
    a, b = memory_run("a"), memory_run("b")
    together = report_of(a, b)
    assert "a:lora train loss" in together
    assert "`b:lora` − `a:lora`" in together
    dataset = b.results.dataset.model_copy(update={"sha256": "ff" * 32})
    other = dataclasses.replace(b, results=b.results.model_copy(update={"dataset": dataset}))
    apart = report_of(a, other)
    assert "`a:lora` and `b:lora` are not compared: dataset.sha256 differ." in apart


def test_two_variants_picked_of_one_run_are_one_run(run: MemoryRun) -> None:
    picked = [dataclasses.replace(run, variant=name) for name in ("lora", "qlora")]
    report = report_of(*picked)
    assert report.startswith(f"# {run.id}\n")
    assert f"{run.id}:lora" not in report
    assert report.count("<br>") == 0


def test_numbers_read_as_in_the_published_report() -> None:
    assert duration(1226) == "20 min 26 s"
    assert duration(59.6) == "1 min 0 s"
    assert duration(3725) == "1 h 2 min"
    assert gigabytes(13_000_000_000) == "13.0 GB"
    assert gigabytes(538_000_000) == "0.54 GB"
    assert gigabytes(1_200_000) == "1.2 MB"
    assert percent(0.689) == "68.9%"
    assert percent(None) == "–"


def test_markdown_escapes() -> None:
    assert escape("a|b_c<d>\n# e") == "a\\|b\\_c&lt;d\\> \\# e"
    assert code("") == "(empty)"
    assert code("  ") == "(blanks)"
    assert code("a`b") == "`` a`b ``"
    assert table(["x", "y"], [["a", "1.0"]]).splitlines()[1] == "|:----|----:|"


def test_result_rows_are_shortened() -> None:
    assert show_rows(None) == "not run"
    assert show_rows([]) == "no rows"
    assert show_rows([[1.0, None, "x"]]) == "`1, NULL, x`"
    assert show_rows([[1], [2], [3], [4], [5]]) == "`1`; `2`; `3`; and 2 more"


@pytest.mark.slow
def test_a_perplexity_beyond_a_float_is_null_in_the_store_and_words_in_the_report(
    tmp_path: Path,
) -> None:
    rows = sample_rows(("lora",))
    lost = [
        row.model_copy(
            update={
                "full_nll": 1000.0 * row.full_tokens,
                "completion_nll": 700.0 * row.completion_tokens,
            }
        )
        for row in rows.losses["lora"]
    ]
    rows = dataclasses.replace(rows, losses={"lora": lost})
    run = write_compared(tmp_path, sample_results(rows=rows), rows, charts=True)
    stored = json.loads((run.folder / "results.json").read_text("utf-8"), parse_constant=fail)
    loss = stored["variants"]["lora"]["loss"]
    assert (loss["full_text"]["loss"], loss["full_text"]["ppl"]) == (1000.0, None)
    text = report_of(run)
    assert re.search(r"1000\.000 \| +over 10\^307 \| +700\.000 \| +1\.014e\+304 \|", text)
    assert "over 10^307" in page_of(run)
    assert warnings(run) == []


def fail(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_runs_on_other_examples_are_reported_but_not_compared() -> None:
    a, b = memory_run("a"), memory_run("b")
    half = {name: rows[:30] for name, rows in b.rows.predictions.items()}
    b = dataclasses.replace(b, rows=dataclasses.replace(b.rows, losses={}, predictions=half))
    assert "answered different examples (limit: 60 against 30" in report_of(a, b)


def test_seeds_of_one_setting_are_compared_within_each_seed() -> None:
    runs = [memory_run(f"r-seed{seed}", seed=seed) for seed in (0, 1, 2)]
    report = report_of(*runs)
    assert "### Across seeds" in report
    assert "`r-seed1:lora` − `r-seed0:lora`" not in report


def test_the_report_says_how_answers_ended_and_warns_where_no_query_had_begun() -> None:
    rows = sample_rows(("lora",))
    graded = rows.predictions["lora"]
    ends = [
        *[row.model_copy(update={"finish": "stop", "text": "no idea"}) for row in graded[:2]],
        *[
            row.model_copy(update={"finish": "newline", "failure": "no_query"})
            for row in graded[2:4]
        ],
        graded[4].model_copy(update={"finish": "length", "failure": "no_query"}),
        graded[5].model_copy(update={"finish": "newline", "failure": "syntax"}),
        *[row.model_copy(update={"finish": "fence"}) for row in graded[6:]],
    ]
    ended = dataclasses.replace(rows, predictions={"lora": ends})
    report, n = report_of(memory_run(rows=ended)), len(graded)
    shares = [percent(count / n) for count in (2, 3, n - 6, 1)]
    assert re.search(r"lora`? +\| +" + r" +\| +".join([*shares, str(n)]), report)
    assert f"Ended early: 3 of {n} answers of `lora` ended before any query began" in report
    plain = report_of(memory_run(rows=rows))
    assert "Ended early" not in plain
    assert "How answers ended" not in plain
