"""The published comparison of 2024 as a run of the leaderboard: what can be set beside ours.

Input: the article, our published runs -> output: Markdown. Its numbers stand in a
table of their own; only ratios of QLoRA to LoRA stand beside ratios within our runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from harness.compare.cost import memory_ratios, speed_ratios
from harness.compare.sides import RunVariant
from harness.markdown import bullets, code, duration, escape, fixed, paragraphs, table_of
from harness.report.article import Article, as_printed
from harness.report.provenance import provenance
from harness.runs.store import StoredRun
from harness.schema.variant_result import VariantResult

RATIOS = (
    "Fine-tuning memory",
    "Evaluation memory",
    "Fused size",
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
    return result.size.fused_bytes if result.size else None


def _wall(result: VariantResult) -> float | None:
    """Training time; None where the machine was busy."""
    finetune = result.finetune
    return None if finetune is None or finetune.contended else finetune.wall_s
