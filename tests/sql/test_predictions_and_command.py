"""Predictions files, the score command's function, summaries, single answers, the self-test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.scoring import run_score
from harness.data.records import Condition, Example, LogicalForm, Split, Table
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.sql.failures import Failure
from harness.sql.grade.answer import correct, execute, execute_all
from harness.sql.grade.predictions import read_predictions
from harness.sql.grade.selftest import run_self_test
from harness.sql.grade.summary import score_figures, summarize


def predictions(path: Path, *lines: object) -> Path:
    file = path / "p.jsonl"
    text = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text("".join(line + "\n" for line in text), encoding="utf-8")
    return file


def test_predictions_come_back_in_id_order(tmp_path: Path) -> None:
    file = predictions(tmp_path, {"id": 1, "error": "x"}, "", {"id": 0, "text": "a", "more": 1})
    first, second = read_predictions(file, "text", [0, 1])
    assert (first.text, second.failure) == ("a", Failure("prediction_error", "x"))


def test_an_empty_error_is_none_and_a_null_query_is_an_answer(tmp_path: Path) -> None:
    file = predictions(tmp_path, {"id": 0, "error": "", "query": None})
    (only,) = read_predictions(file, "wikisql", [0])
    assert (only.failure, only.structured, only.query) == (None, True, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: not JSON"),
        ("[]", ":2: expected an object"),
        ({"id": 0, "text": "x"}, ":2: id 0 appears twice"),
        ({"id": 7, "text": "x"}, ":2: unknown id 7; ids are 0..1"),
        ({"id": "1", "text": "x"}, "got '1'; write it without quotes"),
        ({"text": "x"}, "input_line_number"),
        ('{"id": ' + "1" * 5000 + "}", ':2: "id" must be'),
        ({"id": True, "text": "x"}, ':2: "id" must be'),
        ({"id": 1, "sql": "x"}, ':2: no "text"'),
        ({"id": 1, "query": {}}, "use --format wikisql"),
        ({"id": 0, "text": "y"}, "1 of 2 ids are missing: 1"),
    ],
)
def test_every_problem_names_its_line(tmp_path: Path, line: object, message: str) -> None:
    file = predictions(tmp_path, {"id": 0, "text": "x"}, line)
    with pytest.raises(UserError, match=None) as raised:
        read_predictions(file, "text", [0, 1])
    assert message in str(raised.value)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    file = predictions(tmp_path, "{", {"id": 9, "text": ""}, {"id": 0, "text": ""})
    with pytest.raises(UserError) as raised:
        read_predictions(file, "text", [0, 1, 2])
    assert str(raised.value).count("\n") == 2


HUGE = "1" * 5000
DEEP = "[" * 100_000 + "]" * 100_000
ODD_TEXTS = [
    """{"id": 0, "text": "SELECT Player FROM 1-1 WHERE Player = '\\ud800'"}""",
    '{"id": 0, "text": "SELECT Player FROM 1-1 WHERE Team = \\"\\udfff\\""}',
    f'{{"id": 0, "text": {DEEP}}}',
    *(f'{{"id": 0, "text": {value}}}' for value in ("null", "3", "{}", "NaN", "1e999", HUGE)),
    f'{{"id": 0, "error": {HUGE}}}',
    *('{"id": 0}', '{"id": 0, "error": null}'),
]
ODD_QUERIES = [
    *(f'{{"id": 0, "query": {value}}}' for value in ("null", "[]", '"\\ud800"', HUGE, DEEP)),
    *(
        f'{{"id": 0, "query": {{"sel": {value}, "agg": 0, "conds": []}}}}'
        for value in (HUGE, f'"{HUGE}"', "1e999", "NaN", "[[]]", '"\\ud800"')
    ),
    *(
        f'{{"id": 0, "query": {{"sel": 0, "agg": 0, "conds": [[{column}, 0, {value}]]}}}}'
        for column in (0, 3)
        for value in ('"\\ud800"', HUGE, HUGE[:4000], "-1e999", "NaN", "{}", "[]")
    ),
]


@pytest.mark.parametrize(("format", "lines"), [("text", ODD_TEXTS), ("wikisql", ODD_QUERIES)])
def test_odd_lines_are_wrong_answers_and_the_rest_are_graded(
    tmp_path: Path, squad: Table, format: str, lines: list[str]
) -> None:
    """A right answer before each odd line and behind the last."""
    right = {"text": "SELECT Player FROM 1-1 WHERE Points > 3"}
    if format == "wikisql":
        right = {"query": {"sel": 0, "agg": 0, "conds": [[3, 1, 3]]}}
    asked: list[object] = [{"id": 0, **right}]
    for line in lines:
        odd = line.replace('{"id": 0', f'{{"id": {len(asked)}', 1)
        asked += [odd, {"id": len(asked) + 1, **right}]
    file = predictions(tmp_path, *asked)
    data = dataset(tmp_path, squad, len(asked))
    run_score(data, "any", file, format, out=tmp_path / "out.jsonl")
    rows = [json.loads(row) for row in (tmp_path / "out.jsonl").open()]
    for row, line in zip(rows[1::2], lines, strict=True):
        verdicts = [row[key] for key in ("ex", "ex_official", "lf", "valid")]
        assert (verdicts, row["failure"] is None) == ([False] * 4, False), line[:80]
    assert all(row["ex"] is row["ex_official"] is True for row in rows[::2])


def test_a_cut_emoji_behind_an_answer_does_not_make_it_wrong(grade) -> None:
    half, value = grade(
        [
            "SELECT Player FROM 1-1 WHERE Points > 3;\n\ud83d",
            "SELECT Player FROM 1-1 WHERE No. = '\ud83d'",
        ]
    )
    assert (half.ex, half.ex_strict) == (True, False)
    assert (value.ex, value.failure) == (False, "malformed_query")


def test_a_format_that_does_not_exist_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Allowed: wikisql, text"):
        read_predictions(tmp_path / "p.jsonl", "sql", [0])
    with pytest.raises(UserError, match="cannot read"):
        read_predictions(tmp_path / "p.jsonl", "text", [0])


def dataset(path: Path, squad: Table, count: int = 2) -> Path:
    table = {"id": squad.id, "header": squad.header, "types": squad.types, "rows": squad.rows}
    (path / "any.tables.jsonl").write_text(json.dumps(table) + "\n")
    gold = {"sel": 0, "agg": 0, "conds": [[3, 1, 3]]}
    row = {"phase": 1, "table_id": squad.id, "question": "q", "sql": gold}
    (path / "any.jsonl").write_text((json.dumps(row) + "\n") * count)
    return path


def test_run_score_writes_rows_and_nothing_beside_the_data(tmp_path: Path, squad: Table) -> None:
    data = tmp_path / "data"
    data.mkdir()
    dataset(data, squad)
    before = sorted(data.iterdir())
    right = "SELECT Player FROM 1-1 WHERE Points > 3"
    file = predictions(tmp_path, {"id": 0, "text": right}, {"id": 1, "error": "none"})
    cache = Cache(tmp_path / "cache")
    out = tmp_path / "out.jsonl"
    cold = run_score(data, "any", file, out=out, hardened=2, cache=cache)
    rows = [json.loads(line) for line in out.open()]
    warm = run_score(data, "any", file, out=out, hardened=2, cache=cache)
    assert rows == [json.loads(line) for line in out.open()]
    assert cold == warm
    assert [cold[key] for key in ("n", "ex", "ex_hardened", "valid")] == [2, 0.5, 0.5, 0.5]
    assert cold["failures"] == {"prediction_error": 1}
    assert cold["hardened_removed"] == {}
    assert rows[0]["query"] == {"sel": 0, "agg": 0, "conds": [[3, 1, "3"]]}
    assert sorted(data.iterdir()) == before
    # A run's own rows are predictions too.
    again = predictions(tmp_path, *({**row, "text": right} for row in rows))
    assert run_score(data, "any", again)["ex"] == 1.0


def test_a_bad_number_of_copies_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--hardened"):
        run_score(tmp_path, "any", tmp_path / "none", hardened=-1)


def test_the_summary_counts_by_aggregate_and_conditions(grade) -> None:
    texts = ["SELECT Player FROM 1-1 WHERE Points > 3", "SELECT Player FROM 1-1", "prose"]
    scores = grade(texts)
    gold = LogicalForm(0, 0, (Condition(3, 1, 3),))
    examples = [Example(i, "1-1", "q", gold) for i in range(3)]
    summary = summarize(scores, examples, of=10)
    assert (summary.n, summary.of, summary.ex) == (3, 10, 1 / 3)
    assert summary.by_agg[""].n == summary.by_conditions["1"].n == 3
    assert summary.failures == {"no_query": 1}
    figures = score_figures(summary, scores, examples)
    assert (figures["ex_given_valid"], figures["hardened_removed"]) == (0.5, None)
    assert json.dumps(figures)


def test_no_predictions_no_rates() -> None:
    assert summarize([], []).ex is None


def test_a_single_answer_shows_rows_in_the_tables_own_spelling(squad: Table) -> None:
    answer = execute(squad, "SELECT Player, Team FROM 1-1 WHERE Team = 'BLUE'")
    assert answer.rows == (("Cy", "Blue"), ("Dee", "Blue"))
    gold = execute(squad, "SELECT Player, Team FROM 1-1 WHERE Points = 9 ORDER BY Player DESC")
    assert correct(answer, gold)
    bad = execute(squad, "SELECT Height FROM 1-1")
    assert (bad.rows, bad.sql, bad.failure) == (None, None, "unknown_column")
    assert not correct(bad, gold)


def test_copies_of_a_table_under_one_name_keep_their_own_rows(squad: Table) -> None:
    other = Table(squad.id, squad.header, squad.types, squad.rows[:1])
    first, second = execute_all(
        [(squad, "SELECT COUNT(*) FROM 1-1"), (other, "SELECT COUNT(*) FROM 1-1")]
    )
    assert (first.rows, second.rows) == (((4,),), ((1,),))


def test_the_self_test_passes_and_fails_what_it_must(squad: Table) -> None:
    gold = LogicalForm(0, 0, (Condition(3, 1, 3),))
    split = Split("x", (Example(0, "1-1", "q", gold),), {"1-1": squad})
    result = run_self_test(split)
    assert result.passed
    rates = {row.kind: row.ex for row in result.rows}
    assert (rates["gold buried in prose"], rates["prose"]) == (1.0, 0.0)
    assert "| gold as it stands " in result.render()
