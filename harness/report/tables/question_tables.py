"""The students questions, every variant's answer side by side, and the speeds of those answers.

Input: columns, the published article's beside ours -> output: Markdown. The ratio lines divide mean
speeds over the questions, as the article did; they are left out where the machine was busy. The
interleaved speed trials, which a comparison may rest on, are in ``comparison_tables``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from harness.markdown import block, code, escape, fixed, table, table_of
from harness.report.columns import Column
from harness.schema.variant_result import Cell, QuestionResult

SHOWN_ROWS = 3
SHOWN_CHARACTERS = 240
"""Of an answer in a table; one that never ends would make the table scroll."""


def questions(columns: Sequence[Column], published: Sequence[Column] = ()) -> str:
    """One block a question of ``columns``: prompt, gold, and a row for each variant."""
    by_prompt: dict[str, list[tuple[Column, QuestionResult]]] = {}
    for column in columns:
        for answer in column.result.questions or []:
            by_prompt.setdefault(answer.prompt, []).append((column, answer))
    blocks = []
    for number, (prompt, answers) in enumerate(by_prompt.items(), start=1):
        first = answers[0][1]
        beside = [
            (column, answer)
            for column in published
            for answer in column.result.questions or []
            if answer.question == first.question
        ]
        rows = [_answer_row(column, answer) for column, answer in [*answers, *beside]]
        blocks.append(
            f"#### {number}. {escape(first.question)}\n\n{block(prompt)}\n\n"
            f"Gold: {code(first.gold_sql)} → {show_rows(first.gold_rows)}\n\n"
            + table_of(rows, text_columns=4)
        )
    return "\n\n".join(blocks)


def question_summary(columns: Sequence[Column]) -> str:
    """How many of the questions each column got right."""
    rows = [
        {"Variant": escape(column.label), "Questions right": column.questions_right}
        for column in columns
        if column.result.questions
    ]
    return table_of(rows)


def speeds(columns: Sequence[Column]) -> str:
    """Prompt and generation speed of each question, variants side by side."""
    shown = [(escape(c.label), timed) for c in columns if (timed := c.timed_questions)]
    if not shown:
        return ""
    cells = [
        [[label, fixed(q.prompt_tokens_per_s), fixed(q.generation_tokens_per_s)] for q in timed]
        for label, timed in shown
    ]
    rows = [
        [cell for each in row for cell in each]
        for row in itertools.zip_longest(*cells, fillvalue=["", "", ""])
    ]
    headers = ["Fine-tuning", "Prompt tokens/s", "Generation tokens/s"] * len(shown)
    return table(headers, rows, text_columns=0)


def ratio_lines(columns: Sequence[Column]) -> list[str]:
    """Each later variant's mean speed over an earlier one's, as the article's closing lines."""
    shown = [column for column in columns if column.timed_questions]
    lines = []
    if any(column.contended for column in shown):
        lines.append(
            "No ratio: the machine was busy with other work while these timings were taken."
        )
    else:
        for first, other in itertools.combinations(shown, 2):
            lines += _ratios(first, other)
    lines += [
        f"{escape(column.label)}: {column.speed_note}, taken {escape(speed.measured_at)}."
        for column in shown
        if (speed := column.result.throughput) and column.speed_note
    ]
    return lines


def show_rows(rows: Sequence[Sequence[Cell]] | None) -> str:
    """Result rows in a table cell: the first three, then how many more."""
    if rows is None:
        return "not run"
    if not rows:
        return "no rows"
    shown = [code(", ".join(show_cell(cell) for cell in row)) for row in rows[:SHOWN_ROWS]]
    more = len(rows) - SHOWN_ROWS
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def show_cell(cell: Cell) -> str:
    """One value as text; NULL for null, a whole float without its decimals."""
    if cell is None:
        return "NULL"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell)


def _cut(text: str) -> str:
    more = len(text) - SHOWN_CHARACTERS
    return text if more <= 0 else f"{text[:SHOWN_CHARACTERS]}… ({more:,} more characters)"


def _answer_row(column: Column, answer: QuestionResult) -> dict[str, str]:
    result = f"failed: {code(answer.failure)}" if answer.failure else show_rows(answer.rows)
    return {
        "Variant": escape(column.label),
        "Written": code(_cut(answer.text)),
        "Rows": result,
        "Right": "yes" if answer.correct else "no",
        "Prompt tokens/s": fixed(answer.prompt_tokens_per_s),
        "Generation tokens/s": fixed(answer.generation_tokens_per_s),
    }


def _ratios(first: Column, other: Column) -> list[str]:
    pair = f"{escape(other.label)} to {escape(first.label)}"
    if first.run.results.run.device.chip != other.run.results.run.device.chip:
        return [f"No ratio of {pair}: they were timed on different machines."]

    def mean(column: Column, speed: str) -> float:
        values = [float(getattr(question, speed)) for question in column.timed_questions]
        return sum(values) / len(values)

    return [
        f"`{name}`: {escape(other.label)} is {mean(other, speed) / mean(first, speed):.2f} times "
        f"{escape(first.label)}"
        for name, speed in (
            ("Prompt tokens/s", "prompt_tokens_per_s"),
            ("Generation tokens/s", "generation_tokens_per_s"),
        )
    ]
