"""Where numbers come from: protocol, sample, interval, machine, versions, commit, command.

Input: the runs behind a table and its topic -> output: one small-print paragraph per run; under the
tables of a report, which says the rest once, how they were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.compare.sides import run_names, sample_note, sample_size
from harness.markdown import code, escape, folded, gigabytes, paragraphs
from harness.protocols import COMPARISON, GATES, NOT_MEASURED
from harness.report.base_weights import precision_note
from harness.report.columns import distinct
from harness.runs.store import StoredRun
from harness.schema.variant_result import VariantResult

INTERVALS = {
    "curve": "validation after the iteration's update; train loss since the row before",
    "loss": (
        "95% bootstrap over tables (over questions where tables are fewer than six); perplexity "
        "is per token of this model's tokenizer, the stop token among them: not comparable across "
        "tokenizers"
    ),
    "seeds": (
        f"{COMPARISON}: Welch's t on one value a seed, 95% interval and minimum detectable effect "
        "(80% power) at Holm's first step"
    ),
    "comparisons": (
        f"{COMPARISON}: step-down sign-flip test over the family, 95% interval of its first "
        "step; minimum detectable effect and n to settle at 80% power there; p of each metric alone"
    ),
    "throughput": (
        "medians (least to most of the trials); ratios of geometric means, 95%: t on logarithms "
        "of the trials, in pairs where interleaved"
    ),
    "question speeds": (
        "one trial of 32 new tokens a question, the stop token ignored; ratios of means as the "
        "article's, without an interval: what may be compared are the interleaved speed trials"
    ),
    "failures": "counts of answers",
    "exact match": (
        "answers that equal the data's own after both ends are stripped; 95% Clopper-Pearson over "
        "rows"
    ),
    "parameters": "logical weights, and stored elements where quantized ones are packed; the "
    "adapter is in both totals",
    "time": "wall time of training, validation included, loading left out",
    "size": "bytes of the weights' files",
    "groups": (
        "in brackets 95% Clopper-Pearson with n/deff over the group's tables (none where the run "
        "did not store it), and its number of examples"
    ),
    "ratios": (
        "no intervals: speeds are medians of trials, memory one peak a phase, training one time"
    ),
    "memory": "one process a variant unless marked shared; RSS sampled every 50 ms",
    "fuse": "on a seeded subset",
    "checkpoints": (
        "best in bold; 95%: loss bootstrap, ex Clopper-Pearson with n/deff; last beside best: "
        "one-sided sign-flip test of the largest lead, interval over all other checkpoints"
    ),
    "gates": (
        f"quality ({COMPARISON}): sign-flip test and its 95% interval over tables (over questions "
        "where tables are fewer than six); timings: Welch's t on logarithms of the trials; each "
        "gate a test of its own"
    ),
}

PROTOCOLS = {
    "summary": ("loss", "execution", "throughput", "memory"),
    "curve": ("loss",),
    "loss": ("loss",),
    "seeds": ("loss", "execution"),
    "execution": ("execution",),
    "exact match": ("execution",),
    "failures": ("execution",),
    "groups": ("execution",),
    "checkpoints": ("loss", "execution"),
    "comparisons": ("loss", "execution"),
    "gates": ("loss", "execution", "throughput", "memory", "gates"),
    "gated now": ("loss", "execution", "throughput", "memory"),
    "fuse": ("loss", "execution"),
    "questions": ("execution",),
    "question speeds": ("throughput",),
    "throughput": ("throughput",),
    "memory": ("memory",),
    "ratios": ("throughput", "memory"),
}

INTERVALS["gated now"] = f"judged by {GATES} · {INTERVALS['gates']}"
"""Verdicts that are given now, whatever the runs themselves were gated by."""

SAID_ALOUD = frozenset({"summary", "comparisons", "seeds"})
"""Topics under which the precision of the bases is no small print: what a reader quotes."""

VERSIONS = ("tunebench", "mlx", "mlx-lm", "duckdb")


def provenance(runs: Sequence[StoredRun], topic: str, note: str = "") -> str:
    """Where the numbers of a table come from: one line per run, one for runs that share it.

    Args:
        runs: the runs behind the table.
        topic: what the table shows, a key of ``PROTOCOLS`` or of ``INTERVALS``.
        note: what else was decided about these numbers, in Markdown; behind the intervals.
    """
    shown, several = [], len(distinct(runs)) > 1
    for line, group in _by_line(runs, lambda run: _line(run, topic, note)).items():
        made = {run: code(each.results.run.command) for run, each in group.items()}
        alike = len(set(made.values())) == 1
        command = "; ".join(f"{run}: {one}" for run, one in made.items())
        command = next(iter(made.values())) if alike else command
        shown.append(" · ".join([*([", ".join(made)] if several else []), line, command]))
    return _with_weights(runs, topic, "<br>".join(shown), small)


def definition(runs: Sequence[StoredRun], topic: str, note: str = "") -> str:
    """How the numbers of a table were measured, folded: protocols, sample and interval.

    Machine, versions and command of the runs stand once in a report (:func:`provenance`).
    """
    lines = _by_line(runs, lambda run: _defined(run, topic, note))
    shown = [
        f"{', '.join(ids)} · {line}" if len(lines) > 1 else line for line, ids in lines.items()
    ]
    text = "<br>".join(filter(None, shown))
    return _with_weights(runs, topic, text, lambda body: folded("How it was measured", small(body)))


def small(text: str) -> str:
    """Small print; nothing without a text."""
    return f"<sub>{text}</sub>" if text else ""


def _by_line(
    runs: Sequence[StoredRun], line: Callable[[StoredRun], str]
) -> dict[str, dict[str, StoredRun]]:
    """What is to be said of the runs, each once, with the runs that it is said of by name."""
    once = distinct(runs)
    names = run_names(once)
    found: dict[str, dict[str, StoredRun]] = {}
    for run in once:
        found.setdefault(line(run), {})[code(names[run.folder] or run.id)] = run
    return found


def _with_weights(
    runs: Sequence[StoredRun], topic: str, text: str, shown: Callable[[str], str]
) -> str:
    """The origin of a table as it is ``shown``, and what the bases of its variants are."""
    weights = precision_note(runs)
    if weights and topic in SAID_ALOUD:
        return paragraphs(f"{weights}.", shown(text))
    return shown(" · ".join(filter(None, [weights, text])))


def _line(run: StoredRun, topic: str, note: str) -> str:
    record = run.results.run
    device, commit, found = record.device, record.git.commit, record.versions
    blas = f" with {escape(device.blas)}" if device.blas else ""
    dirty = ", dirty" if record.git.dirty else ""
    parts = [
        _defined(run, topic, note),
        f"{escape(device.chip)}, {escape(device.backend)}{blas}, {gigabytes(device.memory_bytes)}",
        ", ".join(f"{name} {escape(found[name])}" for name in VERSIONS if name in found),
        f"commit {escape(commit[:12])}{dirty}" if commit else "no commit",
    ]
    return " · ".join(part for part in parts if part)


def _defined(run: StoredRun, topic: str, note: str) -> str:
    protocols = run.results.protocols.model_dump()
    parts = [
        *(
            escape(protocols[name] or f"{name}@1")
            for name in PROTOCOLS.get(topic, ())
            if protocols[name] != NOT_MEASURED
        ),
        _sample(run, topic),
        _intervals(run, topic),
        note,
    ]
    return " · ".join(part for part in parts if part)


def _intervals(run: StoredRun, topic: str) -> str:
    if topic not in {"summary", "execution"}:
        return INTERVALS.get(topic, "")
    graded = [
        name
        for name in run.variants
        if (found := run.results.variants[name].execution) and found.ex is not None
    ]
    if not graded:
        return ""
    ex = "Clopper-Pearson with n/deff, over tables or, of fewer than six, over questions"
    if not all(map(run.predictions, graded)) and run.results.protocols.comparison is None:
        ex = "cluster bootstrap over tables (comparison@1)"
    return f"ex interval: 95% {ex}"


def _sample(run: StoredRun, topic: str) -> str:
    if topic in {"parameters", "size", "time", "memory"}:
        return ""
    results = [run.results.variants[name] for name in run.variants]
    if topic in {"throughput", "ratios"}:
        trials = sorted({result.throughput.trials for result in results if result.throughput})
        counted = f"n = {' / '.join(map(str, trials))} trials a variant" if trials else ""
        return ", ".join(filter(None, [counted, *_power_states(results)]))
    if topic == "curve":
        checked = sorted({_validation_size(run, r.config) for r in results if r.finetune})
        return f"n = {' / '.join(map(str, checked))} validation examples, seeded by table"
    if topic in {"questions", "question speeds"}:
        asked = max((len(result.questions or []) for result in results), default=0)
        return f"n = {asked} questions"
    if topic == "fuse":
        sizes = {r.fuse.flips.of for r in results if r.fuse and r.fuse.flips}
        return f"n = {', '.join(map(str, sorted(sizes)))}, seed {run.results.run.seed}"
    notes = sorted({sample_note(run, result) for result in results if sample_size(result)})
    if not notes:
        return ""
    tokens = sorted({r.loss.completion.tokens for r in results if r.loss and r.loss.completion})
    sample = f"n = {' / '.join(notes)} test examples"
    if topic == "loss" and tokens:
        sample += f", {', '.join(f'{t:,}' for t in tokens)} completion tokens"
    return sample if topic == "loss" else sample + _ungraded(results)


def _power_states(results: Sequence[VariantResult]) -> list[str]:
    """In which power state the trials were taken, each once, where it was recorded."""
    powers = [r.throughput.power for r in results if r.throughput and r.throughput.power]
    return list(dict.fromkeys(", ".join(power.state.values()) for power in powers))


def _ungraded(results: Sequence[VariantResult]) -> str:
    """How many of the examples the accuracies are over, where some have a degenerate gold."""
    executions = [r.execution for r in results if r.execution and r.execution.degenerate_gold]
    counts = sorted({(e.n - e.degenerate_gold, e.degenerate_gold) for e in executions})
    reasons = [f"{graded:,}: the gold of {left} is degenerate" for graded, left in counts]
    return f" (ex over {'; '.join(reasons)})" if reasons else ""


def _validation_size(run: StoredRun, config: dict[str, Any]) -> int:
    everything = run.results.dataset.splits.valid
    batches, size = config.get("val_batches", -1), config.get("batch_size", 1)
    if not isinstance(batches, int) or not isinstance(size, int) or batches < 0:
        return everything
    return min(everything, batches * size)
