"""`prompts`: every question of a split as a model is asked it, and `score` takes the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.__main__ import app
from harness.data.prompts import style
from harness.data.sources.resolve import resolve_dataset
from harness.errors import UserError

MINI = resolve_dataset("mini").test


def lines(*options: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(app, ["prompts", *options])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["chat", "sql", "dialect"])
def test_each_line_is_the_styles_own_prompt(name: str) -> None:
    found = lines("--prompt-style", name)
    assert [row["id"] for row in found] == [example.id for example in MINI.examples]
    for row, example in zip(found, MINI.examples, strict=True):
        asked = style(name).prompt(example.question, MINI.tables[example.table_id])
        assert row["prompt"] == asked
        assert row["messages"] == [{"role": "user", "content": asked}]


def test_what_is_asked_outside_is_graded_inside(tmp_path: Path) -> None:
    asked, told = tmp_path / "asked.jsonl", tmp_path / "told.jsonl"
    assert not CliRunner().invoke(app, ["prompts", "--out", str(asked)]).exit_code
    chosen = style("sql")
    gold = {e.id: chosen.completion(e.gold, MINI.tables[e.table_id]) for e in MINI.examples}
    rows = map(json.loads, asked.read_text("utf-8").splitlines())
    answers = [json.dumps({"id": row["id"], "text": gold[row["id"]]}) for row in rows]
    told.write_text("\n".join(answers), encoding="utf-8")
    command = ["score", "--dataset=mini", "--split=test", f"--predictions={told}", "--json"]
    done = CliRunner().invoke(app, [*command, f"--out={tmp_path / 'out.jsonl'}"])
    assert json.loads(done.stdout)["ex"] == 1.0


def test_json_is_one_object_with_every_prompt() -> None:
    (found,) = lines("--json", "--split", "valid")
    assert found["n"] == len(resolve_dataset("mini").valid.examples)
    assert isinstance(found["prompts"], list)
    assert len(found["prompts"]) == found["n"]


def test_an_unknown_style_names_those_that_are() -> None:
    with pytest.raises(UserError, match="dialect"):
        CliRunner().invoke(app, ["prompts", "--prompt-style=dialekt"], catch_exceptions=False)
