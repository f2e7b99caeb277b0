"""Files for a paper: full numbers as CSV, LaTeX that compiles, charts with the same bytes twice."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
from results_sample import MemoryRun, memory_run, sample_rows

from harness.cli.runs import report_command
from harness.compare.analysis import Analysis, analyse
from harness.errors import UserError
from harness.report.paper import write_csv, write_figures, write_latex, write_paper
from harness.runs.store import RunRows
from harness.schema.variant_result import VariantResult

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run() -> MemoryRun:
    return memory_run()


@pytest.fixture(scope="module")
def analysis(run: MemoryRun) -> Analysis:
    return analyse([run])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_number_is_there_in_the_stores_units(
    run: MemoryRun, analysis: Analysis, tmp_path: Path
) -> None:
    found = [path.name for path in write_csv(analysis, tmp_path)]
    assert found == ["variants.csv", "comparisons.csv", "curves.csv"]
    lora = run.results.variants["lora"]
    assert lora.execution is not None
    assert lora.loss is not None
    assert lora.loss.completion is not None
    row = next(row for row in table(tmp_path / "variants.csv") if row["variant"] == "lora")
    assert float(row["ex"]) == lora.execution.ex
    assert float(row["completion_loss"]) == lora.loss.completion.loss
    assert float(row["ex_ci95_low"]) < float(row["ex"]) < float(row["ex_ci95_high"])
    compared = table(tmp_path / "comparisons.csv")
    assert [(r["a"], r["b"], r["metric"]) for r in compared] == [
        (c.a, c.b, c.metric) for c in analysis.records
    ]
    assert [float(r["delta"]) for r in compared] == [c.delta for c in analysis.records]
    assert compared[1]["fixed"] == str(len(analysis.records[1].fixed or ()))
    assert lora.finetune is not None
    curve = [r for r in table(tmp_path / "curves.csv") if r["variant"] == "lora"]
    assert [int(r["iteration"]) for r in curve] == [p.iteration for p in lora.finetune.curve]


def test_a_base_alone_has_neither_comparisons_nor_curves(tmp_path: Path) -> None:
    alone = analyse([memory_run(rows=sample_rows(("base",)))])
    assert [path.name for path in write_csv(alone, tmp_path)] == ["variants.csv"]
    (tables,) = write_latex(alone, tmp_path)
    assert tables.read_text().count(r"\begin{tabular}") == 1


def test_latex_has_both_tables_and_no_character_that_it_would_obey(
    analysis: Analysis, tmp_path: Path
) -> None:
    (tables,) = write_latex(analysis, tmp_path)
    text = tables.read_text(encoding="utf-8")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"lora & 0.393 & 69.0\% & 52.3 to 82.6\% & 60.3\% & 60 \\" in text
    assert r"execution accuracy & +63.8 points & +48.5 to +78.5 & $<$0.001 & better" in text
    assert "& $-$13.8 points & $-$23.9 to $-$3.9 &" in text
    assert "lora - base & " in text
    for line in text.splitlines()[1:]:
        assert "%" not in line.replace(r"\%", "")


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice(run: MemoryRun, tmp_path: Path) -> None:
    # Failures alone: one chart shows it.
    nothing = dict.fromkeys(VariantResult.model_fields)
    variants = {
        name: VariantResult.model_validate(nothing | {"config": {}, "execution": result.execution})
        for name, result in run.results.variants.items()
    }
    only = dataclasses.replace(run, results=run.results.model_copy(update={"variants": variants}))
    only = dataclasses.replace(only, rows=RunRows())
    made = [
        {p.name: p.read_bytes() for p in write_figures(analyse([only]), tmp_path / n, [kind])}
        for kind in ("png", "pdf")
        for n in ("a", "b")
    ]
    assert made[0] == made[1]
    assert made[2] == made[3]
    assert {name: file[:4] for name, file in (made[0] | made[2]).items()} == {
        "accuracy.png": b"\x89PNG",
        "failures.png": b"\x89PNG",
        "accuracy.pdf": b"%PDF",
        "failures.pdf": b"%PDF",
    }


@pytest.mark.slow
def test_one_command_writes_all_of_a_published_run(tmp_path: Path) -> None:
    run = str(ROOT / "results" / "smollm2-mini")
    value, _ = report_command([run], out=tmp_path, paper=("csv", "latex"))
    names = {Path(file).name for file in value["files"]}
    assert {"variants.csv", "comparisons.csv", "curves.csv", "tables.tex", "report.md"} <= names
    with pytest.raises(UserError, match="--csv writes files: name their folder with --out DIR"):
        report_command([run], paper=("csv",))


def test_nothing_is_asked_for_and_nothing_written(analysis: Analysis, tmp_path: Path) -> None:
    assert write_paper(analysis, tmp_path, ()) == []
    assert not list(tmp_path.iterdir())
