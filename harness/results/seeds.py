"""Several seeds of the same variants: mean and spread, and whether a difference exceeds it.

Input: one stored run a seed -> output: a JSON-able summary and its Markdown. With three seeds or
more, a difference between variants is about the methods, not about two adapters: each seed gives
one paired difference, and Student's t over them its interval (the seeds are the sample).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy import stats

from harness.results.gate_rules import metric_value
from harness.results.store import StoredRun

METRICS = ("completion_loss", "full_text_loss", "ex", "ex_hardened")
MIN_SEEDS = 3
"""Seeds from which a verdict may be about methods (DESIGN §5)."""


def summarize_seeds(runs: Sequence[StoredRun]) -> dict[str, Any]:
    """Mean, standard deviation and range by variant and metric, and the paired differences.

    A metric that a run lacks is left out. One run gives no spread (null).
    """
    names = list(runs[0].results.variants)
    variants = {
        name: {
            metric: _spread(values)
            for metric in METRICS
            if (values := _values(runs, name, metric)) is not None
        }
        for name in names
    }
    differences = [
        _difference(runs, a, b, metric)
        for a, b in itertools.combinations(names, 2)
        for metric in METRICS
        if metric in variants[a] and metric in variants[b]
    ]
    return {
        "runs": [run.id for run in runs],
        "seeds": [run.results.run.seed for run in runs],
        "variants": variants,
        "differences": differences,
    }


def render_seeds(summary: dict[str, Any]) -> str:
    """The summary as Markdown."""
    seeds = ", ".join(map(str, summary["seeds"]))
    lines = [
        f"# Seeds {seeds}",
        "",
        "| variant | metric | mean | sd | values |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for name, metrics in summary["variants"].items():
        for metric, told in metrics.items():
            sd = "" if told["sd"] is None else f"{told['sd']:.4f}"
            values = ", ".join(f"{value:.4f}" for value in told["values"])
            lines.append(f"| `{name}` | {metric} | {told['mean']:.4f} | {sd} | {values} |")
    lines.append("")
    lines += [f"- {told['sentence']}" for told in summary["differences"]]
    return "\n".join(lines) + "\n"


def _values(runs: Sequence[StoredRun], variant: str, metric: str) -> list[float] | None:
    found = [
        metric_value(run.results.variants[variant], metric)
        for run in runs
        if variant in run.results.variants
    ]
    values = [value for value in found if value is not None]
    return values if len(values) == len(runs) else None


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "values": list(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "low": min(values),
        "high": max(values),
    }


def _difference(runs: Sequence[StoredRun], a: str, b: str, metric: str) -> dict[str, Any]:
    """b minus a, paired by seed, with Student's t interval over seeds."""
    of_a, of_b = _values(runs, a, metric) or [], _values(runs, b, metric) or []
    deltas = [y - x for x, y in zip(of_a, of_b, strict=True)]
    mean = statistics.fmean(deltas)
    interval = None
    if len(deltas) > 1:
        reach = float(stats.t.ppf(0.975, len(deltas) - 1)) * statistics.stdev(deltas)
        reach /= math.sqrt(len(deltas))
        interval = [mean - reach, mean + reach]
    exceeds = interval is not None and (interval[0] > 0 or interval[1] < 0)
    if len(deltas) < MIN_SEEDS:
        claim = f"{len(deltas)} seeds are too few for a claim about the methods"
    elif exceeds:
        claim = "the difference exceeds the spread between seeds"
    else:
        claim = "the difference does not exceed the spread between seeds"
    told = "" if interval is None else f" [{interval[0]:+.4f}, {interval[1]:+.4f}]"
    return {
        "a": a,
        "b": b,
        "metric": metric,
        "deltas": deltas,
        "mean": mean,
        "ci95": interval,
        "exceeds_seed_spread": exceeds if len(deltas) >= MIN_SEEDS else None,
        "sentence": f"`{b}` minus `{a}`, {metric}: {mean:+.4f}{told}; {claim}.",
    }
