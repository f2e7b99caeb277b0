"""The published comparison of 2024 as a run of the leaderboard: what can be set beside ours.

Input: the article, our published runs -> output: Markdown. Its numbers stand in a
table of their own; only ratios of QLoRA to LoRA stand beside ratios within our runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from harness.compare.cost import memory_ratios, speed_ratios
from harness.compare.sides import RunVariant
from harness.markdown import code, duration, escape, fixed, table
from harness.report.article import Article
from harness.report.provenance import provenance
from harness.runs.store import StoredRun
from harness.schema.variant_result import VariantResult

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
    parts = [
        f"### {escape(article.caption)}",
        f"{escape(article.title)}, {article.date}. {escape(article.results.dataset.name)}.",
        _own_table(article),
        f"<sub>as printed, measured once, without intervals · {escape(article.caption)}; versions "
        f"and commit not given · n = {texts} texts, graded on fixtures/students by the code "
        "that grades a model's</sub>",
        _ratio_table(article, ours),
        provenance(ours, "ratios") if ours else "",
        "Can be compared:\n\n" + "\n".join(f"- {line}" for line in COMPARABLE),
        "Cannot be compared, so its rows are not ranked:\n\n"
        + "\n".join(f"- {line}" for line in INCOMPARABLE),
    ]
    return "\n\n".join(part for part in parts if part)


def _with_pairs(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs that hold a pair of the article's methods."""
    return [run for run in runs if any(set(pair) <= set(run.results.variants) for pair in PAIRS)]


def _own_table(article: Article) -> str:
    rows = []
    for column in article.columns:
        printed, answers = article.printed[column.variant], column.result.questions or []
        right = sum(answer.correct for answer in answers)
        rows.append(
            [
                escape(column.variant),
                fixed(printed.test_loss),
                fixed(printed.test_ppl),
                f"{right} of {len(answers)}",
                f"{printed.finetune_memory_g:g}G",
                f"{printed.evaluate_memory_g:g}G",
                f"{printed.fused_g:g}G",
                duration(_wall(column.result)),
                f"{printed.trainable_million:.3f}M",
            ]
        )
    headers = [
        "Variant",
        "Test loss",
        "PPL",
        "Its texts right on our table",
        "Fine-tuning memory",
        "Evaluation memory",
        "Fused size",
        "Training time",
        "Trainable",
    ]
    return table(headers, rows)


def _ratio_table(article: Article, runs: Sequence[StoredRun]) -> str:
    lora, qlora = article.printed.values()
    walls = [_wall(column.result) for column in article.columns]
    speeds = article.computed_ratios
    published = [
        _ratio(lora.finetune_memory_g, qlora.finetune_memory_g),
        _ratio(lora.evaluate_memory_g, qlora.evaluate_memory_g),
        _ratio(lora.fused_g, qlora.fused_g),
        _ratio(*walls),
        speeds.prompt_tokens_per_s,
        speeds.generation_tokens_per_s,
    ]
    rows = [["published, 2024", *(fixed(ratio, 2) for ratio in published)]]
    for run, (a, b) in itertools.product(runs, PAIRS):
        if a in run.results.variants and b in run.results.variants:
            rows.append([code(f"{run.id}: {b} / {a}"), *_run_ratios(run, a, b)])
    headers = [
        "QLoRA / LoRA",
        "Fine-tuning memory",
        "Evaluation memory",
        "Fused size",
        "Training time",
        "Prompt speed",
        "Generation speed",
    ]
    return table(headers, rows)


def _run_ratios(run: StoredRun, a: str, b: str) -> list[str]:
    sides = RunVariant(run, a), RunVariant(run, b)
    x, y = run.results.variants[a], run.results.variants[b]
    peaks = {found.phase: found.ratio for found in memory_ratios(*sides)}
    speeds = {found.metric: found.ratio for found in speed_ratios(*sides)}
    ratios = [
        peaks.get("train"),
        peaks.get("test"),
        _ratio(_fused(x), _fused(y)),
        _ratio(_wall(x), _wall(y)),
        speeds["prompt_tokens_per_s"],
        speeds["generation_tokens_per_s"],
    ]
    return [fixed(ratio, 2) for ratio in ratios]


def _ratio(below: float | None, above: float | None) -> float | None:
    return above / below if below and above is not None else None


def _fused(result: VariantResult) -> float | None:
    return result.size.fused_bytes if result.size else None


def _wall(result: VariantResult) -> float | None:
    """Training time; None where the machine was busy."""
    finetune = result.finetune
    return None if finetune is None or finetune.contended else finetune.wall_s
