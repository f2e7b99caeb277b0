"""What report, gate and scorer do is counted: reads, comparisons, draws, statements, imports.

Times differ from machine to machine; these counts do not, and a fall back into work per pair, per
row or per query shows in them.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.cli.runs import report_command
from harness.compare import analysis, pairing
from harness.compare.analysis import analyse
from harness.compare.gates import judge
from harness.compare.metrics import METRICS, Metric
from harness.compare.thresholds import load_gates
from harness.data.prompts import style
from harness.data.sources.resolve import resolve_dataset
from harness.disk.cache import Cache
from harness.pipeline import grading
from harness.report.charts import curves
from harness.report.page import page
from harness.report.write import write_run
from harness.runs import store
from harness.schema.rows import LossRow, PredictionRow
from harness.sql.grade.answer import execute_all
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import score
from harness.sql.query import from_logical_form
from harness.sql.read import bounded
from harness.sql.run.sandbox import Sandbox
from harness.stats import paired
from tests.results.results_sample import memory_run, sample_results, sample_rows, write_sample

ROOT = Path(__file__).resolve().parents[2]


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, key: Any) -> Counter[Any]:
    """Count the calls of ``owner.name`` by ``key`` of their arguments."""
    calls: Counter[Any] = Counter()
    inner = getattr(owner, name)

    def outer(*given: Any, **named: Any) -> Any:
        calls[key(*given, **named)] += 1
        return inner(*given, **named)

    monkeypatch.setattr(owner, name, outer)
    return calls


def test_a_report_validates_each_row_and_takes_each_metric_of_a_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dataclasses.replace(memory_run("sample"), folder=tmp_path / "sample")
    store.write_run(run, lambda folder: None)
    validated = counted(monkeypatch, store, "_row", lambda kind, line, file, n: (file, n))
    taken = counted(
        monkeypatch, Metric, "terms", lambda metric, rows: (type(rows[0]), metric.key, id(rows))
    )
    matched = counted(monkeypatch, pairing, "match", lambda metric, a, b: (metric, id(a), id(b)))
    report_command([str(run.folder)])
    lines = sum(len(file.read_bytes().splitlines()) for file in run.folder.glob("*.jsonl"))
    assert len(validated) == validated.total() == lines
    rows = [key for key in taken.elements() if key[0] in (LossRow, PredictionRow)]
    metrics = sum(metric.rows in ("losses", "predictions") for metric in METRICS.values())
    assert len(rows) == len(set(rows)) == len(run.variants) * metrics
    pairs = len(run.variants) * (len(run.variants) - 1) // 2
    assert len(matched) == matched.total() == pairs * metrics


def test_the_flips_of_all_pairs_are_drawn_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = counted(monkeypatch, paired, "_bits", paired._words)
    assert len(analyse([memory_run()]).pairs) == 3
    assert set(drawn.values()) == {1}  # for each number of words of 64 units


@pytest.mark.slow
def test_a_run_that_measured_the_same_compares_and_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, rows = Cache(tmp_path / "cache"), sample_rows()
    made = [
        counted(monkeypatch, owner, name, lambda *given: "call")
        for owner, name in (
            (analysis, "compare_matched"),
            (analysis, "speed_ratios"),
            (curves, "render_charts"),
            (page, "explorer"),
        )
    ]

    def write(name: str, cached: bool) -> Path:
        results = sample_results(name, rows)
        for variant in results.variants.values():
            for section in (variant.finetune, variant.throughput):
                if section is not None:
                    object.__setattr__(section, "cached", cached)
        pending = store.PendingRun(tmp_path / name, results, None, rows)
        write_run(pending, analyse([pending], cache))
        return pending.folder

    first = write("first", cached=False)
    done = [calls.total() for calls in made]
    assert all(done)
    second = write("other", cached=True)
    assert [calls.total() for calls in made] == done
    with monkeypatch.context() as other_code:
        other_code.setattr("harness.disk.cache.code_key", lambda: "another")
        third = write("third", cached=True)
    assert [calls.total() for calls in made] == [2 * number for number in done]
    for file in second.iterdir():
        if file.name != "checksums.json":  # it holds the hash of a text with the run's name
            same = (third / file.name).read_text().replace("third", "other")
            assert file.read_text() == same, file.name
            if file.suffix in (".svg", ".jsonl"):
                assert file.read_text() == (first / file.name).read_text()


@pytest.mark.slow
def test_answers_that_were_graded_are_not_read_or_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, dialect = resolve_dataset("mini"), style("dialect")
    split, examples = dataset.test, dataset.test.examples[:12]
    texts = [dialect.completion(e.gold, split.tables[e.table_id]) for e in examples]
    texts[:2] = ["no query", "half of a pair: \ud83d"]
    graded = counted(monkeypatch, grading, "score", lambda *given: len(given[1]))
    grader = grading.Grader(split, dataset.sha256, Cache(tmp_path))
    first = grader.graded(texts, examples, 2)
    assert grader.graded(texts, examples, 2) == first
    assert graded == {12: 1}
    asked = [Prediction(e.id, text=text) for e, text in zip(examples, texts, strict=True)]
    assert first == score(split.tables, examples, asked, 2)
    grader.graded(texts, examples, 0)
    grader.graded([*texts[:-1], "another answer"], examples, 2)
    assert graded == {12: 3}


def test_a_gate_tests_each_gated_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[int] = []
    inner = paired._flip_test

    def count(*given: Any) -> Any:
        tested.append(len(given[0]))
        return inner(*given)

    monkeypatch.setattr(paired, "_flip_test", count)
    drawn = counted(monkeypatch, paired, "_bits", paired._words)
    rules = load_gates()
    run, baseline = memory_run("new"), memory_run("old")
    judge(run, baseline, rules)
    gated = [key for key in rules if METRICS[key].paired]
    assert tested == [1] * len(run.variants) * len(gated)
    assert set(drawn.values()) == {1}


@pytest.mark.parametrize("count", [20, 200])
def test_queries_of_wikisql_s_shape_share_one_statement(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = resolve_dataset("mini").test
    asked = [
        (split.tables[example.table_id], from_logical_form(example.gold))
        for example in split.examples[:count]
    ]
    statements = counted(monkeypatch, Sandbox, "run", lambda *given: "run")
    found = execute_all(asked)
    assert len(found) == count
    assert all(outcome.rows is not None for outcome in found)
    assert statements["run"] == 1


def test_the_scorer_s_statements_do_not_grow_with_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = resolve_dataset("mini").test
    dialect = style("dialect")
    statements = counted(monkeypatch, Sandbox, "run", lambda *given: "run")
    made = []
    for count in (40, 200):
        statements.clear()
        examples = split.examples[:count]
        answers = [
            Prediction(e.id, text=dialect.completion(e.gold, split.tables[e.table_id]))
            for e in examples
        ]
        scores = score(split.tables, examples, answers, 0, Cache(tmp_path / str(count)))
        assert all(one.ex is not False for one in scores)
        made.append(statements["run"])
    assert made[0] == made[1] <= 2


def test_sql_in_the_spelling_of_the_prompts_asks_no_other_process_to_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = resolve_dataset("mini").test
    spelled = style("sql")
    answers = [
        Prediction(e.id, text=spelled.completion(e.gold, split.tables[e.table_id]))
        for e in split.examples
    ]
    apart = counted(monkeypatch, bounded, "_read_apart", len)
    trees = counted(monkeypatch, Sandbox, "parse", lambda sandbox, texts: len(texts))
    scores = score(split.tables, split.examples, answers, 0, Cache(tmp_path))
    assert all(one.ex is not False for one in scores)
    for texts in (apart, trees):
        assert sum(n * times for n, times in texts.items()) < len(answers) / 10


SCRIPT = """
import json, sys
from harness.cli.runs import {name}
{name}(*json.loads(sys.argv[1]))
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


def imported(script: str, arguments: list[Any]) -> set[str]:
    """The packages that a process of its own has imported when ``script`` is done."""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_gate_and_report_import_no_library_of_charts_frames_or_models(tmp_path: Path) -> None:
    first, second = (str(write_sample(tmp_path, name).folder) for name in ("a", "b"))
    heavy = {"pandas", "matplotlib", "mlx", "mlx_lm", "transformers"}
    assert not imported(SCRIPT.format(name="gate_command"), [first, second]) & heavy
    report = imported(SCRIPT.format(name="report_command"), [[first]])
    assert not report & {"matplotlib", "pandas"}


HELP = """
import contextlib, io, json, sys
sys.argv = ["tunebench", *json.loads(sys.argv[1])]
from harness.__main__ import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize("command", [[], ["score"], ["gate"], ["report"]])
def test_help_imports_neither_numbers_nor_models(command: list[str]) -> None:
    heavy = {"pandas", "matplotlib", "mlx", "mlx_lm", "transformers", "numpy", "scipy", "duckdb"}
    assert not imported(HELP, [*command, "--help"]) & heavy
