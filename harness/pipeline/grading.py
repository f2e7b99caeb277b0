"""From answers to graded rows and rates: the pipeline's use of `sql` and `results`.

Answers (`payloads`) + examples -> `PredictionRow`s, the `execution` section, the students
questions and the speed section. The grading itself is `harness.sql`; intervals are
`harness.stats.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.data.prompts import PromptStyle
from harness.data.records import Example, Split
from harness.data.sources.students import StudentQuestion
from harness.disk.cache import Cache
from harness.protocols import HARDENED_COPIES
from harness.schema.rows import PredictionRow, Rates, TrialRow
from harness.schema.stage_results import Answer, Answers, Speeds, Trial
from harness.schema.variant_result import (
    Execution,
    QuestionResult,
    Throughput,
)
from harness.sql.failures import Failure
from harness.sql.grade.answer import correct, execute_all
from harness.sql.grade.gold import Gold, open_gold
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import Score, score
from harness.sql.grade.summary import summarize
from harness.stats import intervals
from harness.stats.rates import rate


class Grader:
    """Grades answers to questions of one split."""

    def __init__(self, split: Split, cache: Cache) -> None:
        self._split = split
        self._cache = cache

    def grade(self, answers: Answers, examples: Sequence[Example]) -> list[PredictionRow]:
        """One graded row an example, in the examples' order."""
        texts = [answer.text for answer in answers.rows]
        scores = self._graded(texts, examples, HARDENED_COPIES)
        return [
            PredictionRow(table_id=example.table_id, text=text, **one.row())
            for example, text, one in zip(examples, texts, scores, strict=True)
        ]

    def execution(
        self, answers: Answers, examples: Sequence[Example], of: int, seed: int
    ) -> Execution:
        """The `execution` section; ``of`` is the size of the whole split."""
        texts = [answer.text for answer in answers.rows]
        scores = self._graded(texts, examples, HARDENED_COPIES)
        found = summarize(scores, examples, of)
        graded = [(s.ex, e.table_id) for s, e in zip(scores, examples, strict=True)]
        kept = [(bool(ex), table) for ex, table in graded if ex is not None]
        interval = intervals.clustered_rate(
            [ex for ex, _ in kept], [table for _, table in kept], seed
        )
        return found.model_copy(update={"clustered_ci95": interval})

    def rate_of_texts(self, texts: Sequence[str], examples: Sequence[Example]) -> float | None:
        """``ex`` of some answers; None where every gold is degenerate, or there are no tables."""
        if not self._split.tables:
            return None
        return rate([one.ex for one in self._graded(texts, examples, 0)])

    def _graded(
        self, texts: Sequence[str], examples: Sequence[Example], hardened: int
    ) -> list[Score]:
        predictions = [
            Prediction(example.id, text=text) for example, text in zip(examples, texts, strict=True)
        ]
        return score(self._split.tables, examples, predictions, hardened, self._cache)


def flips(one: Sequence[str], other: Sequence[str]) -> int:
    """Answers whose text differs."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def throughput(speeds: Speeds, cached: bool) -> Throughput:
    """Medians over the interleaved trials; percentiles over every gap between tokens."""
    gaps = [gap for trial in speeds.trials for gap in trial.inter_token_s]
    p50, p95 = np.quantile(gaps, [0.5, 0.95])

    def median(values: Sequence[float]) -> float:
        return float(np.median(values))

    return Throughput(
        prompt_tokens_per_s=median([trial.prompt_tokens_per_s for trial in speeds.trials]),
        generation_tokens_per_s=median([trial.generation_tokens_per_s for trial in speeds.trials]),
        ttft_s=median([trial.ttft_s for trial in speeds.trials]),
        inter_token_p50_s=float(p50),
        inter_token_p95_s=float(p95),
        batched_tokens_per_s=median(speeds.batched_tokens_per_s),
        trials=len(speeds.trials),
        measured_at=speeds.measured_at,
        cached=cached,
        interleaving=speeds.interleaving,
    )


def trial_rows(speeds: Speeds) -> list[TrialRow]:
    """The stored row of each trial; its block is the round, shared by all variants."""
    return [
        TrialRow(block=block, **trial.model_dump(include=set(Rates.model_fields)))
        for block, trial in enumerate(speeds.trials)
    ]


def questions(
    asked: Sequence[StudentQuestion], answers: Sequence[Answer], style: PromptStyle
) -> list[QuestionResult]:
    """The students questions, read, run and graded beside their gold; no speeds yet."""
    gold = [(question.table, question.gold_sql) for question in asked]
    texts = [(question.table, answer.text) for question, answer in zip(asked, answers, strict=True)]
    executed = execute_all([*gold, *texts])
    results = []
    for position, question in enumerate(asked):
        wanted, answer = executed[position], executed[len(asked) + position]
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


def with_speeds(results: Sequence[QuestionResult], trials: Sequence[Trial]) -> list[QuestionResult]:
    """``results`` with the speeds of their timed trials."""
    return [
        result.model_copy(
            update={
                "prompt_tokens_per_s": trial.prompt_tokens_per_s,
                "generation_tokens_per_s": trial.generation_tokens_per_s,
            }
        )
        for result, trial in zip(results, trials, strict=True)
    ]


def gold_kinds(split: Split) -> list[str | None]:
    """Run every gold query of a split in DuckDB: None, `empty`, `null`, or why it does not run."""
    if not split.examples:
        return []
    gold = open_gold(split.tables, split.examples)
    try:
        return [_kind(found) for found in gold.golds]
    finally:
        gold.close()


def _kind(gold: Gold) -> str | None:
    if isinstance(gold.result, Failure):
        return f"{gold.result.kind} {gold.result.detail}".strip()
    if not gold.degenerate:
        return None
    return "empty" if gold.result.matched == 0 else "null"
