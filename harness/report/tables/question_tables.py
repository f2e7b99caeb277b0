"""The students questions, every variant's answer side by side, and the speeds of those answers.

Input: entries (and the article with its graded texts) -> output: Markdown. The ratio lines divide
mean speeds over the questions, as the article did; they are left out where the machine was busy.
Interleaved speed trials, which a comparison may rest on, are in ``tables``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.markdown import block, code, escape, fixed, table
from harness.report.article import Article, ArticleAnswer
from harness.report.columns import Entry, Speed, speed_note
from harness.schema.variant_result import Cell, QuestionResult

SHOWN_ROWS = 3


@dataclass(frozen=True)
class Graded:
    """What one of the article's texts does on our students table."""

    correct: bool
    rows: list[list[Cell]] | None
    failure: str | None


ArticleGrades = Mapping[tuple[str, str | None, str], Graded]
"""(question, hint, column) -> grade of the article's text."""


def questions(
    entries: Sequence[Entry], article: Article | None = None, grades: ArticleGrades | None = None
) -> str:
    """One block a question: prompt, gold, and a row for each variant."""
    by_prompt: dict[str, list[tuple[Entry, QuestionResult]]] = {}
    for entry in entries:
        for answer in (entry.result.questions if entry.result else None) or []:
            by_prompt.setdefault(answer.prompt, []).append((entry, answer))
    blocks = []
    for number, (prompt, answers) in enumerate(by_prompt.items(), start=1):
        first = answers[0][1]
        rows = [_answer_row(entry, answer) for entry, answer in answers]
        rows += _article_rows(first, article, grades or {})
        headers = ["Variant", "Written", "Rows", "Right", "Prompt tokens/s", "Generation tokens/s"]
        blocks.append(
            f"#### {number}. {escape(first.question)}\n\n{block(prompt)}\n\n"
            f"Gold: {code(first.gold_sql)} → {show_rows(first.gold_rows)}\n\n"
            + table(headers, rows, text_columns=4)
        )
    return "\n\n".join(blocks)


def question_summary(
    entries: Sequence[Entry], article: Article | None = None, grades: ArticleGrades | None = None
) -> str:
    """How many of the questions each variant, and each column of the article, got right."""
    rows = []
    for entry in entries:
        answers = (entry.result.questions if entry.result else None) or []
        if answers:
            right = sum(answer.correct for answer in answers)
            rows.append([escape(entry.label), f"{right} of {len(answers)}"])
    for column in article.variants if article and grades and rows else []:
        found = [grade.correct for key, grade in (grades or {}).items() if key[2] == column]
        rows.append([f"published {escape(column)}", f"{sum(found)} of {len(found)}"])
    return table(["Variant", "Questions right"], rows) if rows else ""


def speeds(entries: Sequence[Entry]) -> str:
    """Prompt and generation speed of each question, variants side by side."""
    shown = [entry for entry in entries if entry.speeds]
    if not shown:
        return ""
    headers = []
    for _ in shown:
        headers += ["Fine-tuning", "Prompt tokens/s", "Generation tokens/s"]
    rows = []
    for place in range(max(len(entry.speeds) for entry in shown)):
        row = []
        for entry in shown:
            speed = entry.speeds[place] if place < len(entry.speeds) else None
            row += [
                escape(entry.label) if speed else "",
                fixed(speed.prompt_tokens_per_s) if speed else "",
                fixed(speed.generation_tokens_per_s) if speed else "",
            ]
        rows.append(row)
    return table(headers, rows, text_columns=0)


def ratio_lines(entries: Sequence[Entry], article: Article | None = None) -> str:
    """Each later variant's mean speed over an earlier one's, as the article's closing lines."""
    shown = [entry for entry in entries if entry.speeds and entry.run is not None]
    lines = []
    if any(entry.run and entry.run.results.run.contended for entry in shown):
        lines.append(
            "- No ratio: the machine was busy with other work while these timings were taken."
        )
    else:
        for first, other in itertools.combinations(shown, 2):
            if _machine(other) != _machine(first):
                lines.append(
                    f"- No ratio of {escape(other.label)} to {escape(first.label)}: "
                    "they were timed on different machines."
                )
                continue
            lines += _ratios(first, other)
    lines += [
        f"- {escape(entry.label)}: {note}, taken {escape(entry.result.throughput.measured_at)}."
        for entry in shown
        if entry.result and entry.result.throughput and (note := speed_note(entry))
    ]
    if article is not None:
        printed, computed = article.printed_ratios, article.computed_ratios
        lines += [
            f"- Published, prompt: {printed.prompt_tokens_per_s:.2f} times; its own figures give "
            f"{computed.prompt_tokens_per_s:.2f}.",
            f"- Published, generation: {printed.generation_tokens_per_s:.2f} times; its own "
            f"figures give {computed.generation_tokens_per_s:.2f}.",
        ]
    return "\n".join(lines)


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


def _answer_row(entry: Entry, answer: QuestionResult) -> list[str]:
    result = f"failed: {code(answer.failure)}" if answer.failure else show_rows(answer.rows)
    return [
        escape(entry.label),
        code(answer.text),
        result,
        "yes" if answer.correct else "no",
        fixed(answer.prompt_tokens_per_s),
        fixed(answer.generation_tokens_per_s),
    ]


def _article_rows(
    asked: QuestionResult, article: Article | None, grades: ArticleGrades
) -> list[list[str]]:
    if article is None:
        return []
    rows = []
    for question in article.questions:
        for column, answer in question.answers.items():
            if question.question not in asked.prompt or not _same_hint(asked, answer, article):
                continue
            grade = grades.get((question.question, answer.hint, column))
            rows.append(
                [
                    f"published {escape(column)}",
                    code(answer.text),
                    _grade_rows(grade),
                    ("yes" if grade.correct else "no") if grade else "not graded",
                    fixed(answer.prompt_tokens_per_s),
                    fixed(answer.generation_tokens_per_s),
                ]
            )
    return rows


def _same_hint(asked: QuestionResult, answer: ArticleAnswer, article: Article) -> bool:
    hints = {
        other.hint
        for question in article.questions
        for other in question.answers.values()
        if other.hint
    }
    present = {hint for hint in hints if hint in asked.prompt}
    return present == ({answer.hint} if answer.hint else set())


def _grade_rows(grade: Graded | None) -> str:
    if grade is None:
        return "not run"
    return f"failed: {code(grade.failure)}" if grade.failure else show_rows(grade.rows)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ratios(first: Entry, other: Entry) -> list[str]:
    def ratio(name: str) -> float:
        speeds_of: list[Sequence[Speed]] = [other.speeds, first.speeds]
        above, below = (_mean([getattr(speed, name) for speed in each]) for each in speeds_of)
        return above / below

    pair = f"{escape(other.label)} is {{:.2f}} times {escape(first.label)}"
    return [
        "- `Prompt tokens/s`: " + pair.format(ratio("prompt_tokens_per_s")),
        "- `Generation tokens/s`: " + pair.format(ratio("generation_tokens_per_s")),
    ]


def _machine(entry: Entry) -> str | None:
    return entry.run.results.run.device.chip if entry.run else None
