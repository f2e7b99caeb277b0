"""`pytest suites/` on data in mlx-lm's own formats: all but execution accuracy, with a note."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.compare.analysis import analyse
from harness.data.prompts import style
from harness.data.records import Condition, Dataset, Example, LogicalForm, Split, Table
from harness.data.sources.resolve import resolve_dataset
from harness.errors import UserError
from harness.pipeline.session import check_answers
from harness.runs.store import read_run
from harness.sql.grade.gold import gold_kinds
from harness.train.variants import load_variants
from tests import forks

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "wikisql" / "mlx-text"


def texts_of(dataset: Dataset, folder: Path, form: str, count: int = 40) -> Path:
    """The first rows of ``dataset`` as `text` or as `prompt` and `completion`."""
    chosen = style("dialect")
    folder.mkdir()
    for name, split in (("train", dataset.train), ("valid", dataset.valid), ("test", dataset.test)):
        lines = []
        for example in split.examples[:count]:
            table = split.tables[example.table_id]
            asked = chosen.prompt(example.question, table)
            answer = chosen.completion(example.gold, table)
            row = {"text": asked + answer}
            if form == "completions":
                row = {"prompt": asked, "completion": answer.strip()}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def bench(
    folder: Path, data: Path, *options: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = forks.run(
        *("-m", "pytest", "suites/", "-rs", "--model=tiny"),
        *("--set", "iters=4", f"--dataset={data}", f"--results-dir={folder}"),
        *forks.last_of_each("--limit=12", "--run-name=texts", *options),
        environment={"XDG_CACHE_HOME": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done, json.loads((folder / "texts" / "results.json").read_text("utf-8"))


@pytest.mark.slow
def test_whole_texts_are_measured_in_all_but_what_they_cannot_have(tmp_path: Path) -> None:
    whole = SHARED.is_dir()
    data = SHARED if whole else texts_of(resolve_dataset("mini"), tmp_path / "data", "text")
    done, results = bench(tmp_path, data, "--variant=lora,qlora")
    assert "without tables no query can be executed" in done.stdout
    assert "do not mark where an answer begins" in done.stdout
    assert "40 rows" in done.stderr or "1,000 rows" in done.stderr
    assert "answers not marked" in done.stderr
    assert results["run"]["partial"] == []
    assert (results["dataset"]["form"], results["dataset"]["tables"]) == ("text", 0)
    assert results["protocols"]["loss"] == "loss@1 (text as given)"
    for found in results["variants"].values():
        assert found["loss"]["completion"] is None
        assert found["loss"]["full_text"]["tokens"] > 0
        assert found["loss"]["mlx_lm_compat"]["loss"] > 0
        assert found["execution"] is None
        assert found["fuse"]["fused"]["ppl"] > 1
        assert found["fuse"]["fused"]["ex"] is None
        assert found["throughput"]["generation_tokens_per_s"] > 0
        assert found["memory"]["generate"]["mlx_peak_bytes"] > 0
        assert found["questions"] is None, "a model that learned something else is not asked"
        assert found["exact_match"]["rate"] is None, "whole texts have no answer to equal"
        assert found["exact_match"]["n"] == 12
    run = read_run(tmp_path / "texts")
    (pair,) = analyse([run]).pairs
    assert [comparison.metric for comparison in pair.primary] == ["full_text_loss"]
    report = (tmp_path / "texts" / "report.md").read_text("utf-8")
    assert "> Not measured: execution accuracy" in report
    assert "| Full-text loss |" in " ".join(report.split()).replace("  ", " ")


@pytest.mark.slow
def test_prompts_with_completions_have_a_completion_loss(tmp_path: Path) -> None:
    data = texts_of(resolve_dataset("mini"), tmp_path / "data", "completions")
    done, results = bench(tmp_path, data, "--variant=lora", "--set", "mask_prompt=true")
    assert "every prompt a token prefix" in done.stderr
    found = results["variants"]["lora"]
    assert 0 < found["loss"]["completion"]["tokens"] < found["loss"]["full_text"]["tokens"]
    assert found["execution"] is None
    assert results["run"]["partial"] == []
    run = read_run(tmp_path / "texts")
    rows = run.answers("lora")
    assert rows is not None
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    exact = [row.text.strip() == (row.reference or "").strip() for row in rows]
    assert [row.exact for row in rows] == exact
    assert found["exact_match"]["rate"] == sum(exact) / len(exact)
    assert "Exact match" in done.stdout
    page = (tmp_path / "texts" / "index.html").read_text("utf-8")
    assert json.dumps(rows[0].text.strip(), ensure_ascii=False)[1:-1].split("\\")[0] in page


def test_masking_the_prompt_of_whole_texts_is_refused(tmp_path: Path) -> None:
    mini = resolve_dataset("mini")
    (lora,) = load_variants(["lora"], {"mask_prompt": "true"})
    whole = resolve_dataset(str(texts_of(mini, tmp_path / "text", "text", 3)))
    with pytest.raises(UserError, match=r"where an answer begins. Use --set mask_prompt=false"):
        check_answers(lora, whole)
    check_answers(lora, mini)
    check_answers(lora, resolve_dataset(str(texts_of(mini, tmp_path / "c", "completions", 3))))


def test_gold_queries_of_a_split_are_run_and_counted_by_kind() -> None:
    table = Table("t", ("A", "B"), ("text", "real"), (("x", 1), ("y", None)))
    asked = [
        LogicalForm(0, 0, (Condition(0, 0, "x"),)),
        LogicalForm(0, 0, (Condition(0, 0, "nobody"),)),
        LogicalForm(1, 0, (Condition(0, 0, "y"),)),
        LogicalForm(0, 3, (Condition(0, 0, "nobody"),)),
    ]
    examples = tuple(Example(at, "t", "q", gold) for at, gold in enumerate(asked))
    assert gold_kinds(Split("train", examples, {"t": table})) == [None, "empty", "null", "empty"]
    assert gold_kinds(Split("train", (), {})) == []
