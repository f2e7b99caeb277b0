"""The published comparison of 2024 as a run of our own form, and what can be set beside ours.

Input: `fixtures/article.toml` -> output: :class:`Article`, and its section of the leaderboard,
where ratios of QLoRA to LoRA stand beside those of our runs. `results` is a record like any
results.json, the fourteen texts in it read and graded by the code that grades a model's, on our
students table (the article prints none). Figures that our definitions do not cover are kept as
printed, and rows of them stand under ours. The printed ratios stand beside those that the fourteen
speeds give: mean of QLoRA over mean of LoRA, 1.79 for prompts as printed, and 6.87, not the printed
8.87, for generation.
"""

from __future__ import annotations

import itertools
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from harness.bundled import FIXTURES
from harness.compare.cost import memory_ratios, speed_ratios
from harness.compare.sides import RunVariant
from harness.data.sources.students import StudentQuestion, load_students
from harness.markdown import (
    NONE,
    bullets,
    code,
    count,
    duration,
    escape,
    fixed,
    paragraphs,
    table_of,
)
from harness.report.columns import Column
from harness.report.provenance import provenance
from harness.runs.store import StoredRun
from harness.schema.results import Results
from harness.schema.variant_result import Record, VariantResult, in_bfloat16
from harness.sql.grade.answer import correct, execute_all

ARTICLE_FILE = FIXTURES / "article.toml"


RATIOS = (
    "Fine-tuning memory",
    "Evaluation memory",
    "Fused size in bfloat16",
    "Training time",
    "Prompt speed",
    "Generation speed",
)
PAIRS = (("lora", "qlora"), ("article/lora", "article/qlora"))

COMPARABLE = (
    "ratios of QLoRA to LoRA within it, beside ratios within a run of ours (the table above)",
    "trainable parameters: `harness params --variant article/lora` counts the same 1.704M",
    "the texts it printed: they are graded on our students table like any model's",
)
INCOMPARABLE = (
    "its test loss: the whole text with a pad token after every row as a target, and no interval",
    "its memory: what a system monitor showed for the process, not the allocator's peak",
    "its speeds: the first token is counted without its time, one answer each; and its printed "
    "8.87 is 6.87 by its own figures",
    "its share of ten thousand for QLoRA: it divides by packed words",
    "its accuracy: seven questions that ran on no table, no execution accuracy",
    "anything absolute: another model, machine and MLX of January 2024",
)


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


def article_section(article: Article, runs: Sequence[StoredRun]) -> str:
    """The section "Published elsewhere" of the leaderboard."""
    ours = _with_pairs(runs)
    texts = sum(len(column.result.questions or []) for column in article.columns)
    return paragraphs(
        f"### {escape(article.caption)}",
        f"{escape(article.title)}, {article.date}. {escape(article.results.dataset.name)}.",
        _own_table(article),
        f"<sub>as printed, measured once, without intervals · {escape(article.caption)}; versions "
        f"and commit not given · n = {texts} texts, graded on fixtures/students by the code "
        "that grades a model's</sub>",
        _ratio_table(article, ours),
        provenance(ours, "ratios") if ours else "",
        f"Can be compared:\n\n{bullets(COMPARABLE)}",
        f"Cannot be compared, so its rows are not ranked:\n\n{bullets(INCOMPARABLE)}",
    )


def _with_pairs(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs that hold a pair of the article's methods."""
    return [run for run in runs if any(set(pair) <= set(run.results.variants) for pair in PAIRS)]


def _own_table(article: Article) -> str:
    return table_of(
        [
            {
                "Variant": escape(column.variant),
                "Test loss": fixed(printed.test_loss),
                "PPL": fixed(printed.test_ppl),
                "Its texts right on our table": column.questions_right,
                "Fine-tuning memory": as_printed(printed.finetune_memory_g),
                "Evaluation memory": as_printed(printed.evaluate_memory_g),
                "Fused size": as_printed(printed.fused_g),
                "Training time": duration(_wall(column.result)),
                "Trainable": f"{printed.trainable_million:.3f}M",
            }
            for column in article.columns
            for printed in [article.printed[column.variant]]
        ]
    )


def _ratio_table(article: Article, runs: Sequence[StoredRun]) -> str:
    lora, qlora = article.printed.values()
    speeds = article.computed_ratios
    rows = [
        _ratio_row(
            "published, 2024",
            _ratio(lora.finetune_memory_g, qlora.finetune_memory_g),
            _ratio(lora.evaluate_memory_g, qlora.evaluate_memory_g),
            _ratio(lora.fused_g, qlora.fused_g),
            _ratio(*(_wall(column.result) for column in article.columns)),
            speeds.prompt_tokens_per_s,
            speeds.generation_tokens_per_s,
        )
    ]
    for run, (a, b) in itertools.product(runs, PAIRS):
        if a in run.results.variants and b in run.results.variants:
            sides = RunVariant(run, a), RunVariant(run, b)
            x, y = (side.result for side in sides)
            peaks = {found.phase: found.ratio for found in memory_ratios(*sides)}
            timed = {found.metric: found.ratio for found in speed_ratios(*sides)}
            rows.append(
                _ratio_row(
                    code(f"{run.id}: {b} / {a}"),
                    peaks.get("train"),
                    peaks.get("test"),
                    _ratio(_fused(x), _fused(y)),
                    _ratio(_wall(x), _wall(y)),
                    timed["prompt_tokens_per_s"],
                    timed["generation_tokens_per_s"],
                )
            )
    return table_of(rows)


def _ratio_row(name: str, *ratios: float | None) -> dict[str, str]:
    cells = [fixed(ratio, 2) for ratio in ratios]
    return {"QLoRA / LoRA": name, **dict(zip(RATIOS, cells, strict=True))}


def _ratio(below: float | None, above: float | None) -> float | None:
    return above / below if below and above is not None else None


def _fused(result: VariantResult) -> float | None:
    """The fused model's size with its floats in bfloat16: the article's were stored in 16 bits."""
    by_dtype = result.size.fused_by_dtype if result.size else None
    return in_bfloat16(by_dtype) if by_dtype else None


def _wall(result: VariantResult) -> float | None:
    """Training time; None where the machine was busy."""
    finetune = result.finetune
    return None if finetune is None or finetune.contended else finetune.wall_s
