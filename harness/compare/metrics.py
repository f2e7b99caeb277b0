"""Every metric once: what it is called, in which unit, which way is better, where its value stands.

Input: a variant's stored result, or a difference of two -> output: the metric's value, and text in
the metric's unit. Pairing, tests and gates ask a metric for what they need and know none by name.
Not covered: how much worse is tolerated (``thresholds``) and whole sentences (``report``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

import numpy as np

from harness.markdown import NONE
from harness.schema.results import Direction
from harness.schema.variant_result import VariantResult
from harness.stats.intervals import Floats

Kind = Literal["loss", "rate", "timing", "memory", "size"]

NO_TABLES = "the data has no tables to run queries on"
NO_ANSWERS = "the data does not mark where an answer begins"


@dataclass(frozen=True)
class Unit:
    """How numbers of one unit are shown; each text is a format with one number in it."""

    value: str
    """A value on its own."""
    amount: str
    """A difference without its sign, its unit named."""
    change: str = "{:+.4f}"
    """A difference with its sign."""
    bound: str = "{:+.4f}"
    """One end of a difference's interval."""
    cell: str = "{:.3f}"
    """A value in a table of comparisons."""
    scale: Callable[[float], float] = float
    """From the store's unit to the one that is shown."""


NATS = Unit("{:.4f}", "{:.4f} nats a token")
RATE = Unit(
    "{:.1f}%", "{:.1f} points", "{:+.1f} points", "{:+.1f}", "{:.1f}%", lambda rate: 100 * rate
)
TOKENS_PER_S = Unit("{:.2f} tokens/s", "{:.2f} tokens/s")
SECONDS = Unit("{:.4f} s", "{:.4f} s")
MEGABYTES = Unit("{:,.1f} MB", "{:,.1f} MB", scale=lambda size: size / 1e6)


@dataclass(frozen=True, eq=False)
class Metric:
    """What is known about a metric; there is one object of each."""

    key: str
    """Its name in results.json, gates.toml and the command line."""
    title: str
    """Its name in a sentence."""
    kind: Kind
    """How two values of it are compared, and where they cannot be."""
    better: Direction
    unit: Unit
    value: Callable[[VariantResult], float | None]
    """The stored value; None where it was not measured."""
    rows: str = ""
    """The row files that hold it example by example, or trial by trial; empty without any."""
    of_row: Callable[[Any], float | tuple[float, float] | None] = lambda row: None
    """Its value in one of those rows, None where it has none; a loss is (summed nats, tokens)."""
    primary: bool = False
    """Whether it is in the primary family, which is tested together and alone gets a verdict."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """By format of the data set: why data in that format cannot have it."""

    @property
    def short(self) -> str:
        """Its name in a note or a narrow table: losses and speeds in words, others by key."""
        return self.title if self.kind in ("loss", "timing") else self.key

    @property
    def paired(self) -> bool:
        """Whether it is compared example by example."""
        return self.kind in ("loss", "rate")

    @property
    def sign(self) -> float:
        """The factor that makes a difference a worsening: 1 where lower is better, else -1."""
        return 1.0 if self.better == "lower" else -1.0

    def terms(self, rows: Sequence[Any]) -> Floats:
        """``(rows, 2)``: what each adds to the numerator and to the weight; NaN without a grade."""
        found = np.array([*map(self.of_row, rows)], dtype=np.float64)
        if found.ndim == 2 or not len(rows):
            return found.reshape(-1, 2)
        return np.column_stack([found, np.where(np.isnan(found), np.nan, 1.0)])

    def mean(self, rows: Sequence[Any]) -> float | None:
        """The metric over rows: nats a token, or the share that is right; None without weight."""
        return mean_of(self.terms(rows))

    @property
    def exact(self) -> bool:
        """Whether it is a number without noise, on which no test is done."""
        return self.kind in ("memory", "size")

    def improves(self, difference: float) -> bool:
        """Whether a value that differs by ``difference`` is better."""
        return (difference > 0) == (self.better == "higher")

    def show(self, value: float | None) -> str:
        """A value: percent, nats a token, tokens/s, seconds or MB."""
        return self._format(self.unit.value, value)

    def show_cell(self, value: float | None) -> str:
        """A value in a table of comparisons, shorter than :meth:`show`."""
        return self._format(self.unit.cell, value)

    def show_delta(self, difference: float | None) -> str:
        """A difference with its sign: percentage points for rates, nats a token for losses."""
        return self._format(self.unit.change, difference)

    def show_size(self, difference: float | None) -> str:
        """The size of a difference, as :meth:`show_delta` without its plus sign."""
        return self.show_delta(difference).lstrip("+")

    def show_amount(self, amount: float) -> str:
        """A difference without its sign, its unit named."""
        return self._format(self.unit.amount, amount)

    def show_interval(self, interval: tuple[float, float] | None) -> str:
        """The interval of a difference, in the unit of :meth:`show_delta`."""
        if interval is None:
            return NONE
        return " to ".join(self._format(self.unit.bound, edge) for edge in interval)

    def _format(self, template: str, number: float | None) -> str:
        return NONE if number is None else template.format(self.unit.scale(number))


def mean_of(terms: Floats) -> float | None:
    """The mean of :meth:`Metric.terms`; None without weight."""
    value, weight = np.nansum(terms, axis=0).tolist()
    return value / weight if weight else None


def _full_text_loss(result: VariantResult) -> float | None:
    return result.loss.full_text.loss if result.loss else None


def _completion_loss(result: VariantResult) -> float | None:
    return result.loss.completion.loss if result.loss and result.loss.completion else None


def _rate(key: str, title: str, primary: bool = False) -> Metric:
    absent = dict.fromkeys(("text", "completions", "chat"), NO_TABLES)
    return Metric(
        key,
        title,
        "rate",
        "higher",
        RATE,
        lambda result: getattr(result.execution, key, None),
        "predictions",
        attrgetter(key),
        primary,
        absent,
    )


def _timing(key: str, title: str, better: Direction, unit: Unit) -> Metric:
    return Metric(
        key,
        title,
        "timing",
        better,
        unit,
        lambda result: getattr(result.throughput, key, None),
        "trials",
        attrgetter(key),
    )


def _memory(phase: str, title: str) -> Metric:
    def value(result: VariantResult) -> float | None:
        found = result.memory.phase(phase) if result.memory else None
        return None if found is None else float(found.mlx_peak_bytes)

    return Metric(f"{phase}_memory_bytes", title, "memory", "lower", MEGABYTES, value)


def _size(key: str, title: str) -> Metric:
    return Metric(
        key, title, "size", "lower", MEGABYTES, lambda result: getattr(result.size, key, None)
    )


METRICS = {
    metric.key: metric
    for metric in (
        Metric(
            key="completion_loss",
            title="completion loss",
            kind="loss",
            better="lower",
            unit=NATS,
            value=_completion_loss,
            rows="losses",
            of_row=attrgetter("completion_nll", "completion_tokens"),
            primary=True,
            absent={"text": NO_ANSWERS},
        ),
        Metric(
            key="full_text_loss",
            title="full-text loss",
            kind="loss",
            better="lower",
            unit=NATS,
            value=_full_text_loss,
            rows="losses",
            of_row=attrgetter("full_nll", "full_tokens"),
        ),
        _rate("ex", "execution accuracy", primary=True),
        _rate("ex_hardened", "hardened execution accuracy", primary=True),
        _rate("ex_official", "official execution accuracy"),
        _rate("ex_strict", "strict execution accuracy"),
        _rate("lf", "logical-form accuracy"),
        _rate("valid", "share of valid SQL"),
        Metric(
            key="exact_match",
            title="exact match",
            kind="rate",
            better="higher",
            unit=RATE,
            value=lambda result: result.exact_match.rate if result.exact_match else None,
            rows="answers",
            of_row=attrgetter("exact"),
            absent={"tables": "answers are judged by what they return", "text": NO_ANSWERS},
        ),
        _timing("generation_tokens_per_s", "generation tokens/s", "higher", TOKENS_PER_S),
        _timing("prompt_tokens_per_s", "prompt tokens/s", "higher", TOKENS_PER_S),
        _timing("ttft_s", "time to first token", "lower", SECONDS),
        _memory("load", "memory while loading"),
        _memory("train", "memory while training"),
        _memory("test", "memory while testing"),
        _memory("generate", "memory while generating"),
        _memory("fuse", "memory while fusing"),
        _size("adapter_bytes", "size of the adapter"),
        _size("fused_bytes", "size of the fused model"),
    )
}
"""Every metric by its key; each of them may be named in gates.toml."""

PRIMARY = tuple(metric for metric in METRICS.values() if metric.primary)
"""The primary family, in the order of reports."""

FALLBACK = METRICS["full_text_loss"]
"""The family where there is neither an answer to score nor one to execute."""


def best_of(results: Sequence[VariantResult]) -> int:
    """The place of the result that answers best and then predicts best, as far as all of them have
    the metric; the first of equal ones."""
    metrics = [METRICS[name] for name in ("ex", "exact_match", "completion_loss", "full_text_loss")]
    shared = [m for m in metrics if all(m.value(result) is not None for result in results)]
    ranks = [[metric.sign * (metric.value(r) or 0.0) for metric in shared] for r in results]
    return ranks.index(min(ranks))
