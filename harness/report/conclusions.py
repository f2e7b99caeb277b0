"""What a reader may claim, in words.

Input: :class:`Comparison` records -> output: sentences, computed from the record alone; a report
never contains a hand-written claim. With one seed a sentence is about these adapters, not about
the methods.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare.pairing import RATE_METRICS
from harness.compare.quality import Difference, PairComparison
from harness.markdown import code, p_value
from harness.schema.results import Comparison
from harness.stats.paired import mcnemar

ONE_SEED = (
    "for these sets of weights, on this data; a claim about the methods needs three seeds or more"
)
"""What a comparison of single trainings is about."""

NAMES = {
    "completion_loss": "completion loss",
    "full_text_loss": "full-text loss",
    "ex": "execution accuracy",
    "ex_hardened": "hardened execution accuracy",
    "ex_official": "official execution accuracy",
    "ex_strict": "strict execution accuracy",
    "lf": "logical-form accuracy",
    "valid": "share of valid SQL",
}


def metric_name(metric: str) -> str:
    """A metric as words."""
    return NAMES.get(metric, metric.replace("_", " "))


def show_delta(metric: str, delta: float | None) -> str:
    """A difference with its sign: percentage points for rates, nats a token for losses."""
    if delta is None:
        return "–"
    if metric in RATE_METRICS:
        return f"{100 * delta:+.1f} points"
    return f"{delta:+.4f}"


def show_delta_interval(metric: str, interval: tuple[float, float] | None) -> str:
    """The interval of a difference in the unit of :func:`show_delta`."""
    if interval is None:
        return "–"
    if metric in RATE_METRICS:
        return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
    return f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def mcnemar_text(comparison: Comparison) -> str:
    """Fixed and broken counts with McNemar's exact p; a dash for a loss."""
    if comparison.fixed is None or comparison.broken is None:
        return "–"
    fixed, broken = len(comparison.fixed), len(comparison.broken)
    return f"{fixed} fixed, {broken} broken, p {p_value(mcnemar(fixed, broken))}"


def sentence(comparison: Comparison) -> str:
    """The verdict of one comparison in words."""
    metric = comparison.metric
    name = metric_name(metric)
    pair = f"{code(comparison.b)} {{}} {code(comparison.a)}"
    evidence = (
        f"{show_delta(metric, comparison.delta)}, 95% "
        f"{show_delta_interval(metric, comparison.ci95)}, p {p_value(comparison.p_holm)} "
        "after Holm"
    )
    if comparison.verdict == "not distinguishable":
        text = (
            f"On {name}, {pair.format('cannot be told from')} ({evidence}); "
            f"{_smallest(comparison)}."
        )
    else:
        text = f"On {name}, {pair.format(f'is {comparison.verdict} than')} ({evidence})."
    return text


def claim(comparisons: Sequence[Comparison]) -> str:
    """One sentence over the whole family of a pair: what a reader may claim.

    Two sets of weights were compared; what seeds allow to say of methods is in ``seeds``.
    """
    if not comparisons:
        return "Nothing was compared."
    a, b = code(comparisons[0].a), code(comparisons[0].b)
    better = [metric_name(c.metric) for c in comparisons if c.verdict == "better"]
    worse = [metric_name(c.metric) for c in comparisons if c.verdict == "worse"]
    open_ = [metric_name(c.metric) for c in comparisons if c.verdict == "not distinguishable"]
    parts = []
    if better:
        parts.append(f"{b} is better than {a} on {listed(better)}")
    if worse:
        parts.append(f"{b} is worse than {a} on {listed(worse)}")
    if open_ and (better or worse):
        parts.append(f"no difference is shown on {listed(open_)}")
    if not parts:
        parts.append(
            f"no difference between {a} and {b} is shown on {listed(open_)}, which is not "
            "evidence that they are equal"
        )
    return f"{capital(clauses(parts))} ({ONE_SEED})."


def descriptive_sentence(pair: PairComparison, difference: Difference) -> str:
    """A descriptive difference: no test, no verdict."""
    return (
        f"{metric_name(difference.metric)}: {code(pair.b)} minus {code(pair.a)} "
        f"{show_delta(difference.metric, difference.delta)}, 95% "
        f"{show_delta_interval(difference.metric, difference.ci95)}"
    )


def _smallest(comparison: Comparison) -> str:
    if comparison.minimum_detectable is None:
        return "they did not differ on a single example"
    size = show_delta(comparison.metric, comparison.minimum_detectable).lstrip("+")
    return f"only a true difference of about {size} would be seen with 80% probability here"


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`, or with another word before the last."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def clauses(parts: Sequence[str]) -> str:
    """Main clauses in one sentence: `a`, `a; and b`, `a; b; and c`."""
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"


def capital(sentence: str) -> str:
    """A sentence with a capital at its start, unless it starts with a name in code."""
    return sentence[:1].upper() + sentence[1:]
