"""What the page's explorer of examples shows: an index of all, and full texts where it matters.

Input: report columns (and their dataset, where its name resolves to the very data of the run) ->
output: a JSON-able object. Questions and tables are not in the store; without the dataset the
explorer has texts, SQL and verdicts only. Above ``FULL_EXAMPLES`` examples texts, tables and rows
are kept of the disagreements between variants, and of a seeded sample of the others, up to that
number and to ``FULL_ANSWERS`` answers, as the page notes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.compare.metrics import METRICS
from harness.compare.regrade import known_split
from harness.data.prompts import PromptStyle, style
from harness.data.records import Example, Split, Table
from harness.report.columns import Column
from harness.schema.rows import PredictionRow
from harness.sql.failures import Failure
from harness.sql.query import Query, aggregate_of, conditions_of, from_logical_form, gold_query

FULL_EXAMPLES = 2_000
FULL_ANSWERS = 6_000
"""What a page keeps in full at most, where it cannot keep all."""

SHOWN_ROWS = 5
SHOWN_CHARACTERS = 160
"""Of a prompt's first line, as the title of its example."""


Answers = Mapping[int, PredictionRow]
"""One variant's answers by example id."""

Executed = tuple[str | None, list[list[Any]] | None]
"""The SQL that was run, and its rows; None where it failed."""

GOLD = -1
"""Stands for the gold query where answers are keyed by the place of their column."""

OTHER_DATA = "These runs answered different data, so no examples stand side by side."


def explorer(columns: Sequence[Column]) -> dict[str, Any]:
    """The explorer's data; no examples where no variant has stored predictions, or where the runs
    answered other questions under the same numbers."""
    same_data = len({column.run.results.dataset.sha256 for column in columns}) <= 1
    if same_data and any(column.run.answers(column.variant) for column in columns):
        return _written(columns)
    answered = [
        (column.label, {row.id: row for row in rows})
        for column in columns
        if same_data and (rows := column.run.predictions(column.variant))
    ]
    answers = [rows for _, rows in answered]
    ids = sorted({number for rows in answers for number in rows})
    split = known_split([column.run for column in columns])
    full, note = _kept_in_full(answers, ids)
    results = _results(answers, full, split) if split else {}
    asked = _style(columns) if split else None
    return {
        "variants": [label for label, _ in answered],
        "total": len(ids),
        "known": split is not None,
        "note": note if same_data else OTHER_DATA,
        "examples": [
            _example(number, answers, split, number in full, results, asked) for number in ids
        ],
        "tables": _tables(full, split),
        "gates": _gates(columns),
    }


def _written(columns: Sequence[Column]) -> dict[str, Any]:
    """Of data without tables: prompts, the data's own answers and those of each variant."""
    answered = [
        (column.label, {row.id: row for row in rows})
        for column in columns
        if (rows := column.run.answers(column.variant))
    ]
    prompts = {row.id: row for _, rows in answered for row in rows.values()}
    kept = sorted(prompts)[:FULL_EXAMPLES]
    more = len(prompts) - len(kept)
    return {
        "variants": [label for label, _ in answered],
        "total": len(kept),
        "known": False,
        "note": f"The first {len(kept):,} of {len(prompts):,} prompts." if more else "",
        "examples": [
            {
                "id": number,
                "full": 1,
                "q": _first_line(prompts[number].prompt),
                "prompt": prompts[number].prompt,
                "gold": {"text": prompts[number].reference},
                "v": [
                    {"ok": row.exact, "text": row.text} if (row := rows.get(number)) else None
                    for _, rows in answered
                ],
            }
            for number in kept
        ],
        "tables": {},
        "gates": _gates(columns),
    }


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


def _style(columns: Sequence[Column]) -> PromptStyle:
    """The style that the first run asked in; runs of another are shown beside it in this one."""
    prompt = columns[0].run.results.protocols.prompt or "dialect@"
    return style(prompt.partition("@")[0])


def _gates(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The failing gates, with the examples that each broke."""
    return [
        {"name": f"{column.label}: {METRICS[gate.metric].title}", "ids": gate.broken}
        for column in columns
        for gate in column.run.results.gates
        if gate.variant == column.variant and gate.verdict == "fail" and gate.broken
    ]


def _kept_in_full(answers: Sequence[Answers], ids: Sequence[int]) -> tuple[set[int], str]:
    """The examples whose texts the page keeps, and how they were chosen; empty for all of them."""
    if len(ids) <= FULL_EXAMPLES:
        return set(ids), ""
    verdicts = {number: {rows[number].ex for rows in answers if number in rows} for number in ids}
    disagreed = [number for number in ids if len(verdicts[number]) > 1]
    others = [number for number in ids if len(verdicts[number]) <= 1]
    most = min(FULL_EXAMPLES, FULL_ANSWERS // len(answers))
    kept, parts = set[int](), []
    for group, all_of, some_of in (
        (disagreed, "the {:,} on which variants disagree", "the {:,} on which variants disagree"),
        (others, "", "the {:,} others" if disagreed else "them, right and wrong alike"),
    ):
        free = most - len(kept)
        drawn = np.random.default_rng(0).permutation(len(group))[:free]
        kept |= {group[place] for place in drawn}
        if len(drawn) == len(group) and group:
            parts.append(all_of.format(len(group)))
        elif len(drawn):
            of = some_of.format(len(group))
            parts.append(f"a random sample (seed 0) of {len(drawn):,} of {of}")
    return kept, (
        f"Of {len(ids):,} examples this page keeps texts, tables and rows of "
        f"{' and of '.join(parts)}; of the rest only whether each answer was right and how it "
        "failed. The search finds texts that are kept."
    )


def _results(
    answers: Sequence[Answers], full: set[int], split: Split
) -> dict[tuple[int, int], Executed]:
    """Rows that gold and each variant's answer return on the example's table.

    By example and place of the column: the labels of two variants may be alike. Run are the queries
    that were read when the answers were graded; one that WikiSQL's form cannot hold is shown as the
    SQL that is stored of it, with rows where that is gold's own. No text is read again.
    """
    from harness.sql.grade.answer import execute_all
    from harness.sql.grade.predictions import read_structured

    asked: list[tuple[tuple[int, int], tuple[Table, Query | Failure]]] = []
    for number in sorted(full):
        example = split.examples[number]
        table = split.tables[example.table_id]
        asked.append(((number, GOLD), (table, gold_query(example.gold))))
        for place, answered in enumerate(answers):
            row = answered.get(number)
            if row is not None and row.query is not None and row.failure is None:
                form = read_structured(row.query, table)
                read = form if isinstance(form, Failure) else from_logical_form(form)
                asked.append(((number, place), (table, read)))
    executed = execute_all([question for _, question in asked])
    found: dict[tuple[int, int], Executed] = {
        key: (answer.sql, None if answer.rows is None else [list(row) for row in answer.rows])
        for (key, _), answer in zip(asked, executed, strict=True)
    }
    for number, place in itertools.product(sorted(full), range(len(answers))):
        gold, row = found[number, GOLD], answers[place].get(number)
        if row is not None and row.sql is not None and row.sql == gold[0]:
            found.setdefault((number, place), gold)
    return found


def _example(
    number: int,
    answers: Sequence[Answers],
    split: Split | None,
    full: bool,
    results: Mapping[tuple[int, int], Executed],
    asked: PromptStyle | None,
) -> dict[str, Any]:
    example: Example | None = split.examples[number] if split else None
    found: dict[str, Any] = {"id": number, **({"full": 1} if full else {})}
    if example is not None and split is not None and asked is not None:
        found |= {
            "q": example.question,
            "agg": aggregate_of(example.gold) or "none",
            "conds": conditions_of(example.gold),
            "table": example.table_id,
        }
        if full:
            table = split.tables[example.table_id]
            sql, gold_rows = results.get((number, GOLD), (None, None))
            written = asked.completion(example.gold, table).strip()
            found["gold"] = {"text": written, "sql": sql, **_shown(gold_rows)}
            found["prompt"] = asked.prompt(example.question, table)
    found["v"] = [
        _answer(rows.get(number), full, results.get((number, place)))
        for place, rows in enumerate(answers)
    ]
    return found


def _answer(
    row: PredictionRow | None, full: bool, result: Executed | None
) -> dict[str, Any] | None:
    if row is None:
        return None
    answer: dict[str, Any] = {"ok": row.ex}
    if row.failure:
        answer["fail"] = row.failure
    if row.ex and row.ex_hardened is False:
        answer["lucky"] = 1
    if full:
        answer |= {"text": row.text, "sql": row.sql, "as": row.read_as}
        if row.detail:
            answer["why"] = row.detail
        if row.counterexample is not None:
            answer["parts"] = row.counterexample.model_dump()
        if result is not None:
            answer |= _shown(result[1])
    return answer


def _shown(rows: list[list[Any]] | None) -> dict[str, Any]:
    if rows is None:
        return {"rows": None}
    more = len(rows) - SHOWN_ROWS
    return {"rows": rows[:SHOWN_ROWS], **({"more": more} if more > 0 else {})}


def _tables(full: set[int], split: Split | None) -> dict[str, Any]:
    if split is None:
        return {}
    used = {split.examples[number].table_id for number in full}
    return {
        name: {
            "header": list(split.tables[name].header),
            **_shown([list(row) for row in split.tables[name].rows]),
        }
        for name in sorted(used)
    }
