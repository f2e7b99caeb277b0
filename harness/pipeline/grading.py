"""From answers to graded rows, rates and sections: the pipeline's use of ``sql``.

Answers of a model process + examples -> rows of predictions and checkpoints, the `execution`,
`fuse` and `checkpoints` sections and the students questions. The grading itself is ``sql.grade``;
speeds are ``interleaved_speed``'s.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.prompts import PromptStyle
from harness.data.records import Example, Split, TextExample
from harness.data.sources.students import StudentQuestion
from harness.disk.cache import Cache
from harness.protocols import HARDENED_COPIES
from harness.schema.rows import AnswerRow, CheckpointRow, LossRow, PredictionRow
from harness.schema.stage_results import Answer, Answers, Fused, FusedForm
from harness.schema.variant_result import (
    CheckpointResult,
    ExactMatch,
    Flips,
    Fuse,
    FuseForm,
    QuestionResult,
)
from harness.sql.grade.answer import correct, execute_all
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import Score, score
from harness.stats.rates import clustered_rate, rate

GRADING_PACKAGES = ("duckdb", "sqlglot")
"""They decide, with the code, what an answer is graded as."""


@dataclass
class Grader:
    """Grades answers to questions of one split."""

    split: Split
    content: str
    """The hash of the data that the split is of."""
    cache: Cache

    def scores(
        self,
        answers: Answers,
        examples: Sequence[Example],
        took: Callable[[float], None] = lambda seconds: None,
    ) -> list[Score]:
        """The verdicts on each answer, in the examples' order; ``took`` is told the seconds of
        answers that were not graded before."""
        texts = [answer.text for answer in answers.rows]
        return self.graded(texts, examples, HARDENED_COPIES, took)

    @staticmethod
    def rows(
        answers: Answers, examples: Sequence[Example], scores: Sequence[Score]
    ) -> list[PredictionRow]:
        """One graded row per example, in the examples' order."""
        return [
            PredictionRow(
                table_id=example.table_id, text=answer.text, finish=answer.finish, **one.row()
            )
            for example, answer, one in zip(examples, answers.rows, scores, strict=True)
        ]

    def rate_of_texts(self, texts: Sequence[str], examples: Sequence[Example]) -> float | None:
        """``ex`` of some answers; None where every gold is degenerate, or there are no tables."""
        if not self.split.tables:
            return None
        return rate([one.ex for one in self.graded(texts, examples, 0)])

    def graded(
        self,
        texts: Sequence[str],
        examples: Sequence[Example],
        hardened: int,
        took: Callable[[float], None] = lambda seconds: None,
    ) -> list[Score]:
        """The verdicts on each text with ``hardened`` perturbed copies; kept for the next time."""
        predictions = [
            Prediction(example.id, text=text) for example, text in zip(examples, texts, strict=True)
        ]

        def grade() -> list[dict[str, Any]]:
            began = time.monotonic()
            found = score(self.split.tables, examples, predictions, hardened, self.cache)
            took(time.monotonic() - began)
            return [one.record() for one in found]

        asked = [[prediction.id, prediction.text] for prediction in predictions]
        parts = [self.content, hardened, asked]
        kept = self.cache.value("grades", parts, GRADING_PACKAGES, grade)
        return [Score.of_record(one) for one in kept]


def answer_rows(answers: Answers, examples: Sequence[Example]) -> list[AnswerRow]:
    """The answers to data without tables beside the data's own, in the examples' order."""
    rows = []
    for example, answer in zip(examples, answers.rows, strict=True):
        assert isinstance(example, TextExample)
        reference = example.reference
        exact = None if reference is None else answer.text.strip() == reference.strip()
        rows.append(
            AnswerRow(
                id=example.id,
                table_id=example.table_id,
                prompt=example.asked,
                reference=reference,
                text=answer.text,
                finish=answer.finish,
                exact=exact,
            )
        )
    return rows


def exact_match(rows: Sequence[AnswerRow], of: int) -> ExactMatch:
    """The `exact_match` section; ``of`` is the size of the whole split."""
    marks = [float(row.exact) for row in rows if row.exact is not None]
    interval = clustered_rate(marks, [row.table_id for row in rows]) if marks else None
    return ExactMatch(n=len(rows), of=of, rate=rate([row.exact for row in rows]), ci95=interval)


def flips(one: Sequence[str], other: Sequence[str]) -> int:
    """Answers whose text differs."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def questions(
    students: Sequence[StudentQuestion], answers: Sequence[Answer], style: PromptStyle
) -> list[QuestionResult]:
    """The students questions, read, run and graded beside their gold; no speeds yet."""
    gold = [(question.table, question.gold_sql) for question in students]
    texts = [
        (question.table, answer.text) for question, answer in zip(students, answers, strict=True)
    ]
    executed = execute_all([*gold, *texts])
    results = []
    for position, question in enumerate(students):
        wanted, answer = executed[position], executed[len(students) + position]
        if wanted.rows is None:
            raise ValueError(f"gold query of {question.question!r} fails: {wanted.detail}")
        hint = f" ({question.hint})" if question.hint else ""
        results.append(
            QuestionResult(
                question=question.question + hint,
                prompt=style.prompt(question.question, question.table, question.hint),
                text=answers[position].text,
                sql=answer.sql,
                rows=None if answer.rows is None else [list(row) for row in answer.rows],
                gold_sql=question.gold_sql,
                gold_rows=[list(row) for row in wanted.rows],
                correct=correct(answer, wanted),
                failure=answer.failure,
                prompt_tokens_per_s=None,
                generation_tokens_per_s=None,
            )
        )
    return results


def fuse_section(fused: Fused, grade: Callable[[Sequence[str]], float | None]) -> Fuse:
    """The `fuse` section: quality of each form, and the answers that differ from the adapter's.

    ``grade`` gives ``ex`` of the subset's answers; None where no query can be executed.
    """

    def form(one: FusedForm) -> FuseForm:
        return FuseForm(ppl=one.ppl, ex=grade(one.texts))

    beside, plain = fused.adapter, fused.dequantized
    return Fuse(
        adapter=form(beside),
        fused=form(fused.fused),
        dequantized=None if plain is None else form(plain),
        skipped=fused.skipped,
        flips=Flips(
            fused=flips(beside.texts, fused.fused.texts),
            dequantized=None if plain is None else flips(beside.texts, plain.texts),
            of=len(beside.texts),
        ),
    )


def checkpoint_rows(
    iteration: int, losses: Sequence[LossRow], graded: Sequence[PredictionRow] | None
) -> list[CheckpointRow]:
    """One row per example; ``graded`` is None for data without tables, which hold no questions."""
    of_answer = ("text", "ex", "ex_hardened", "failure")
    answers = {row.id: row.model_dump(include=set(of_answer)) for row in graded or ()}
    none = dict.fromkeys(of_answer)
    return [
        CheckpointRow(iteration=iteration, **loss.model_dump(), **answers.get(loss.id, none))
        for loss in losses
    ]


def checkpoint_results(rows: Sequence[CheckpointRow]) -> list[CheckpointResult]:
    """The `checkpoints` section, in order of iteration."""
    ordered = sorted(rows, key=lambda row: row.iteration)
    groups = itertools.groupby(ordered, key=lambda row: row.iteration)
    return [_checkpoint_result(iteration, list(group)) for iteration, group in groups]


def _checkpoint_result(iteration: int, rows: Sequence[CheckpointRow]) -> CheckpointResult:
    loss = math.fsum(row.full_nll for row in rows) / sum(row.full_tokens for row in rows)
    return CheckpointResult(iteration=iteration, loss=loss, ex=rate([row.ex for row in rows]))
