"""The published comparison as a run of our own form: `fixtures/article.toml`.

Input: the file -> output: :class:`Article`. Its `results` is a record like any results.json, its
fourteen texts read and graded by the code that grades a model's, on our students table (the article
prints none). Figures that our definitions do not cover are kept as printed, and rows of them stand
under ours. Its printed ratios stand beside those that its own fourteen speeds give: mean of QLoRA
over mean of LoRA, 1.79 for prompts as printed, and 6.87, not the printed 8.87, for generation.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from harness.bundled import FIXTURES
from harness.data.sources.students import StudentQuestion, load_students
from harness.markdown import NONE, count, escape, fixed
from harness.report.columns import Column
from harness.runs.store import StoredRun
from harness.schema.results import Results
from harness.schema.variant_result import Record
from harness.sql.grade.answer import correct, execute_all

ARTICLE_FILE = FIXTURES / "article.toml"


class Ratios(Record):
    """QLoRA's speed over LoRA's."""

    prompt_tokens_per_s: float = Field(description="Prompt speed ratio.")
    generation_tokens_per_s: float = Field(description="Generation speed ratio.")


class Printed(Record):
    """Figures of one column that our definitions do not cover, as printed."""

    trainable_million: float = Field(description="Trainable parameters, millions.")
    total_million: float = Field(description="Counted parameters, millions (packed for QLoRA).")
    per_ten_thousand: float = Field(description="Trainable of ten thousand.")
    finetune_memory_g: float = Field(description="Memory while fine-tuning, as printed.")
    evaluate_memory_g: float = Field(description="Memory while evaluating, as printed.")
    fused_g: float = Field(description="Size of the fused model, as printed.")
    test_loss: float = Field(description="Test loss.")
    test_ppl: float = Field(description="Test PPL.")


class Article(Record):
    """The whole published comparison."""

    title: str = Field(description="Title.")
    printed_ratios: Ratios = Field(description="The ratios as printed.")
    printed: dict[str, Printed] = Field(description="By column, LoRA and QLoRA.")
    results: Results = Field(description="What our own form can hold; nulls where it is silent.")

    @property
    def date(self) -> str:
        """Day of publication."""
        return self.results.run.started

    @property
    def caption(self) -> str:
        """What a reader must know before setting these numbers beside others."""
        machine = self.results.run.device.chip
        return f"{self.results.model.id}, {machine}, {self.date[:4]}"

    @property
    def columns(self) -> list[Column]:
        """LoRA and QLoRA as columns of a report."""
        run = StoredRun(ARTICLE_FILE.with_suffix(""), self.results)
        return [Column(f"published {name}", run, name) for name in self.results.variants]

    @property
    def computed_ratios(self) -> Ratios:
        """The ratios of the mean speeds over the seven questions."""
        base, other = (result.questions or [] for result in self.results.variants.values())
        return Ratios.model_validate(
            {
                speed: sum(getattr(q, speed) for q in other) / sum(getattr(q, speed) for q in base)
                for speed in Ratios.model_fields
            }
        )

    def printed_rows(self) -> defaultdict[str, list[list[str]]]:
        """The rows that stand under ours, by table: the printed figures, dashes beside them."""
        tables: defaultdict[str, list[list[str]]] = defaultdict(list)
        for column in self.columns:
            printed = self.printed[column.variant]
            trained = f"{printed.trainable_million:.3f}M"
            total, share = f"{printed.total_million:.3f}M", fixed(printed.per_ten_thousand, 2)
            losses = [fixed(printed.test_loss), fixed(printed.test_ppl)]
            for name, cells in (
                ("parameters", [trained, NONE, NONE, total, share]),
                ("train", [as_printed(printed.finetune_memory_g), *[NONE] * 4]),
                ("test", [NONE, as_printed(printed.evaluate_memory_g), *[NONE] * 5]),
                ("loss", [count(column.iterations), *[NONE] * 4, *losses, NONE, NONE]),
                ("size", [NONE, NONE, as_printed(printed.fused_g), NONE]),
            ):
                tables[name].append([escape(column.label), *cells])
        return tables

    def ratio_lines(self) -> list[str]:
        """The printed ratios beside those of its own figures."""
        printed, computed = self.printed_ratios, self.computed_ratios
        return [
            f"Published, prompt: {printed.prompt_tokens_per_s:.2f} times; its own figures give "
            f"{computed.prompt_tokens_per_s:.2f}.",
            f"Published, generation: {printed.generation_tokens_per_s:.2f} times; its own "
            f"figures give {computed.generation_tokens_per_s:.2f}.",
        ]


@cache
def load_article(file: Path = ARTICLE_FILE) -> Article:
    """Read the article's numbers, and grade its texts."""
    with file.open("rb") as stream:
        raw = tomllib.load(stream)
    answers = [q for result in raw["results"]["variants"].values() for q in result["questions"]]
    for answer, grade in zip(answers, _grade(answers), strict=True):
        answer |= grade
    try:
        return Article.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors():
            if fault["type"] == "missing":
                _set_null(raw, fault["loc"])
    return Article.model_validate(raw)


def _set_null(raw: Any, where: tuple[int | str, ...]) -> None:
    """TOML has no null: what the file lacks is one, if the record's form allows it."""
    *path, name = where
    for step in path:
        raw = raw[step]
    raw[name] = None


def _grade(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What every text does on our table, as fields of :class:`QuestionResult`."""
    known = {_question(student): student for student in load_students()}
    students = [known[answer["question"]] for answer in answers]
    golds = execute_all([(student.table, student.gold_sql) for student in students])
    found = execute_all(
        [(student.table, answer["text"]) for student, answer in zip(students, answers, strict=True)]
    )
    return [
        {
            "prompt": "",
            "sql": answer.sql,
            "rows": answer.rows,
            "gold_sql": student.gold_sql,
            "gold_rows": gold.rows,
            "correct": correct(answer, gold),
            "failure": answer.failure,
        }
        for student, answer, gold in zip(students, found, golds, strict=True)
    ]


def _question(student: StudentQuestion) -> str:
    """A question with its hint, as :class:`QuestionResult` names it."""
    return f"{student.question} ({student.hint})" if student.hint else student.question


def as_printed(gigabytes: float) -> str:
    """A size with as many digits as the article printed."""
    return f"{gigabytes:g}G"
