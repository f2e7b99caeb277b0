"""The columns of a report: a variant of a stored run, or a column of the published article.

Input: :class:`StoredRun` (and the article) -> output: :class:`Entry`, what the article's tables
print of one variant, so that one table function serves both. Values stay in the store's units;
the article's "G" are kept as printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.sides import limited, sample_note, sides_of
from harness.markdown import escape, gigabytes
from harness.report.article import Article
from harness.runs.store import StoredRun
from harness.schema.variant_result import PhaseMemory, VariantResult

CHARTS = {
    "loss.svg": "Loss by iteration",
    "accuracy.svg": "Execution accuracy with 95% intervals",
    "tradeoff.svg": "Quality against memory, size and speed",
    "failures.svg": "Failed answers by kind",
    "speed.svg": "Speed of every trial",
    "checkpoints.svg": "Checkpoints by loss and execution accuracy",
}
"""Charts beside a report, by file, with their titles."""

BUSY = "other work ran on the machine"
"""What a contended timing is called in charts."""


@dataclass(frozen=True)
class Point:
    """One row of the loss table."""

    iteration: int
    updates: int
    train_loss: float | None
    val_loss: float | None
    tokens_per_s: float | None


@dataclass(frozen=True)
class Speed:
    """Prompt and generation speed of one question."""

    prompt_tokens_per_s: float
    generation_tokens_per_s: float


@dataclass(frozen=True)
class Entry:
    """One column. ``result`` and ``run`` are None for the article's."""

    label: str
    curve: tuple[Point, ...]
    iterations: int | None
    wall_s: float | None
    finetune_memory: str | None
    evaluate_memory: str | None
    fused_size: str | None
    speeds: tuple[Speed, ...]
    run: StoredRun | None = None
    name: str = ""
    result: VariantResult | None = None


def distinct(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Each run once, though several of its variants were picked."""
    return list({run.folder: run for run in reversed(runs)}.values())[::-1]


def run_entries(runs: Sequence[StoredRun]) -> list[Entry]:
    """Every variant in play.

    The run's name goes into the label where there are several runs, the sample (`20 of 200, seed
    0`) where limited and full evaluations would otherwise look alike.
    """
    found = [
        (side, side.run.results.variants[side.variant], side.label(side)) for side in sides_of(runs)
    ]
    mixed = len({sample_note(side.run, result) for side, result, _ in found}) > 1
    return [
        _entry(
            side.run,
            side.variant,
            f"{label} ({sample_note(side.run, result)})" if mixed and limited(result) else label,
        )
        for side, result, label in found
    ]


def article_entries(article: Article) -> list[Entry]:
    """The article's LoRA and QLoRA columns."""
    return [
        Entry(
            label=f"published {name}",
            curve=tuple(
                Point(p.iteration, p.iteration, p.train_loss, p.val_loss, p.tokens_per_s)
                for p in column.curve
            ),
            iterations=column.iterations,
            wall_s=column.wall_s,
            finetune_memory=f"{column.finetune_memory_g:g}G",
            evaluate_memory=f"{column.evaluate_memory_g:g}G",
            fused_size=f"{column.fused_g:g}G",
            speeds=tuple(
                Speed(
                    question.answers[name].prompt_tokens_per_s,
                    question.answers[name].generation_tokens_per_s,
                )
                for question in article.questions
            ),
            name=name,
        )
        for name, column in article.variants.items()
    ]


def entry_looks(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Colour and marker of every entry in all charts."""
    from harness.report.charts.style import looks  # matplotlib: tables do without

    return looks([(entry.run.id if entry.run else "", entry.name) for entry in entries])


def available_charts(entries: Sequence[Entry]) -> list[str]:
    """The charts that these entries have data for; partial runs lack some."""
    results = [entry.result for entry in entries if entry.result]
    drawn = {
        "loss.svg": any(r.finetune and r.finetune.curve for r in results),
        "accuracy.svg": any(r.execution for r in results),
        "tradeoff.svg": any(
            r.execution and r.execution.ex is not None and (r.memory or r.throughput)
            for r in results
        ),
        "failures.svg": any(r.execution and r.execution.failures for r in results),
        "speed.svg": any(entry.run and entry.run.trials(entry.name) for entry in entries),
        "checkpoints.svg": any(len(r.checkpoints or []) > 1 for r in results),
    }
    return [name for name in CHARTS if drawn[name]]


def training_note(result: VariantResult | None, taken: bool = True) -> str:
    """`cached, taken …` and `contended` where a training time is; else empty.

    Args:
        result: the variant; None for the article's.
        taken: whether to say when and where a cached time was taken.
    """
    finetune = result.finetune if result else None
    if finetune is None:
        return ""
    cached = f"cached, taken {escape(finetune.measured_at)}" if taken else "cached"
    notes = [cached] if finetune.cached else []
    return ", ".join([*notes, "contended"] if finetune.contended else notes)


def speed_note(entry: Entry) -> str:
    """`cached` and `contended` where a speed is; else empty."""
    speed = entry.result.throughput if entry.result else None
    notes = ["cached"] if speed and speed.cached else []
    return ", ".join([*notes, "contended"] if speed and contended(entry) else notes)


def contended(entry: Entry) -> bool:
    """Whether other work ran on the machine while the variant was timed."""
    return entry.run is not None and entry.run.results.run.contended


def machine_of(entry: Entry) -> tuple[str | None, ...]:
    """What must agree for timings to be set beside one another: backend, chip, BLAS."""
    if entry.run is None:
        return ()
    device = entry.run.results.run.device
    return device.backend, device.chip, device.blas


def _entry(run: StoredRun, name: str, label: str) -> Entry:
    result = run.results.variants[name]
    finetune, memory, size = result.finetune, result.memory, result.size
    return Entry(
        label=label,
        curve=tuple(
            Point(p.iteration, p.updates, p.train_loss, p.val_loss, p.tokens_per_s)
            for p in (finetune.curve if finetune else [])
        ),
        iterations=result.adapter.iterations if result.adapter else None,
        wall_s=finetune.wall_s if finetune else None,
        finetune_memory=_peak(memory.phase("train")) if memory else None,
        evaluate_memory=_peak(memory.phase("test")) if memory else None,
        fused_size=gigabytes(size.fused_bytes) if size and size.fused_bytes else None,
        speeds=tuple(
            Speed(q.prompt_tokens_per_s, q.generation_tokens_per_s)
            for q in result.questions or []
            if q.prompt_tokens_per_s is not None and q.generation_tokens_per_s is not None
        ),
        run=run,
        name=name,
        result=result,
    )


def _peak(phase: PhaseMemory | None) -> str | None:
    if phase is None:
        return None
    shared = " (shared process)" if phase.shared_process else ""
    return f"{gigabytes(phase.mlx_peak_bytes)}{shared}"
