"""Conclusions in words: of one metric, of a pair, over all pairs, over seeds.

Input: :class:`Comparison` and :class:`SeedDifference` records -> output: sentences, computed from
the records alone; a report never contains a hand-written claim. One training a variant allows a
conclusion about these weights, several seeds one about the methods. Which metrics were tested
together stands under every table of p values, so that a family that shrank for want of data is
visible. Not covered: the statistics (``compare``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from harness.compare.checkpoints import BestCheckpoint
from harness.compare.metrics import METRICS, PRIMARY
from harness.compare.quality import Difference, PairComparison, Tested
from harness.compare.seeds import SeedDifference
from harness.markdown import NONE, code, escape, p_value
from harness.schema.results import Comparison
from harness.stats.paired import mcnemar

Key = TypeVar("Key")
Value = TypeVar("Value")

THREE_SEEDS = "a claim about the methods needs three seeds or more"
"""What a comparison of single trainings cannot give."""

Family = tuple[Sequence[str], Mapping[str, str]]
"""The metrics tested together, and why the other primary ones were not."""


def mcnemar_text(comparison: Comparison) -> str:
    """Fixed and broken counts with McNemar's exact p; a dash for a loss."""
    if comparison.fixed is None or comparison.broken is None:
        return NONE
    fixed, broken = len(comparison.fixed), len(comparison.broken)
    return f"{fixed} fixed, {broken} broken, p {p_value(mcnemar(fixed, broken))}"


def needed_text(comparison: Comparison) -> str:
    """How many examples would settle what these do not; a dash where that is no question."""
    if comparison.n_needed is not None:
        return f"{comparison.n_needed:,}"
    unknown = comparison.minimum_detectable is None or not comparison.delta
    return NONE if unknown or comparison.verdict != "not distinguishable" else "> 100 × n"


def sentence(pair: PairComparison, comparison: Comparison) -> str:
    """The verdict of one comparison of ``pair`` in words."""
    c, metric = comparison, METRICS[comparison.metric]
    evidence = (
        f"{metric.show_delta(c.delta)}, 95% {metric.show_interval(c.ci95)}, "
        f"p {p_value(c.p_family)} in its family"
    )
    scope = pair.tested[c.metric].scope
    about = f", about {scope}," if scope else ""
    start = f"On {metric.title}{about or ','} {code(c.b)}"
    if c.verdict == "not distinguishable":
        return f"{start} is not distinguishable from {code(c.a)} ({evidence}); {_why(pair, c)}."
    more = "; the interval is that of the test's first step, and its later steps show more"
    holds_zero = c.ci95 is not None and c.ci95[0] <= 0.0 <= c.ci95[1]
    return f"{start} is {c.verdict} than {code(c.a)} ({evidence}{more if holds_zero else ''})."


def descriptive_sentence(pair: PairComparison, difference: Difference) -> str:
    """A descriptive difference: no test, no verdict."""
    metric = METRICS[difference.metric]
    return (
        f"{metric.title}: {code(pair.b)} minus {code(pair.a)} "
        f"{metric.show_delta(difference.delta)}, 95% {metric.show_interval(difference.ci95)}"
    )


def seeds_needed_text(difference: SeedDifference) -> str:
    """How many seeds of each would settle what these do not; a dash where that is no question."""
    if difference.n_needed is not None:
        return f"{difference.n_needed:,}"
    return NONE if difference.exceeds or difference.p is None else "> 100 × as many"


def seed_sentence(difference: SeedDifference, seeds: int) -> str:
    """The difference of two variants on one metric over ``seeds`` seeds in words."""
    d, metric = difference, METRICS[difference.metric]
    start = f"On {metric.title}, {code(d.b)}"
    if d.reason:
        return f"{start} and {code(d.a)}: {d.reason}; nothing may be said of the methods."
    evidence = (
        f"{metric.show_delta(d.mean)}, 95% {metric.show_interval(d.ci95)}, "
        f"p {p_value(d.p_holm)} after Holm"
    )
    if d.exceeds:
        more = "; the interval is that of Holm's first step, and its later steps show more"
        holds_zero = d.ci95 is not None and d.ci95[0] <= 0.0 <= d.ci95[1]
        return (
            f"{start} is {'better' if d.better else 'worse'} than {code(d.a)} beyond the spread "
            f"between {seeds} seeds ({evidence}{more if holds_zero else ''})."
        )
    needed = seeds_needed_text(d)
    many = "more than a hundred times as many" if d.n_needed is None else f"about {needed}"
    return (
        f"{start} is not shown to differ from {code(d.a)} by more than seeds do ({evidence}); with "
        f"{seeds} seeds a true difference of {metric.show_size(d.minimum_detectable)} is seen with "
        f"80% probability, and one of the size seen would take {many}."
    )


def pair_claim(pair: PairComparison) -> str:
    """One sentence over the metrics of one pair: what a reader may claim of these weights."""
    comparisons = pair.primary
    if not comparisons:
        return "Nothing was compared."
    few = _too_few([pair])
    if len(few) == len(pair.tested):
        return _nothing([pair])
    a, b = code(comparisons[0].a), code(comparisons[0].b)
    metrics = _grouped((c.verdict, c.metric) for c in comparisons if c.metric not in few)
    undecided = metrics.pop("not distinguishable", [])
    parts = [
        f"{b} is {verdict} than {a} on {_names(metrics[verdict])}"
        for verdict in ("better", "worse")
        if verdict in metrics
    ]
    if undecided and parts:
        parts.append(f"no difference is shown on {_names(undecided)}")
    elif undecided:
        parts.append(_no_difference(a, b, undecided))
    return _of_these_weights(parts, [pair])


def overall_claim(pairs: Sequence[PairComparison]) -> str:
    """One sentence over all pairs of a report; empty without any."""
    if len(pairs) <= 1:
        return "".join(pair_claim(pair) for pair in pairs)
    few = _too_few(pairs)
    records = [c for pair in pairs for c in pair.primary if c.metric not in few]
    if not records:
        return _nothing(pairs)
    won = _grouped(
        ((c.b, c.a) if c.verdict == "better" else (c.a, c.b), c.metric)
        for c in records
        if c.verdict != "not distinguishable"
    )
    beaten = _grouped(
        ((winner, tuple(found)), code(loser)) for (winner, loser), found in won.items()
    )
    parts = [
        f"{code(winner)} is better than {listed(losers)} on {_names(metrics)}"
        for (winner, metrics), losers in beaten.items()
    ]
    undecided = _grouped(
        ((c.a, c.b), c.metric) for c in records if c.verdict == "not distinguishable"
    )
    alike = _grouped(
        (tuple(found), f"between {code(a)} and {code(b)}") for (a, b), found in undecided.items()
    )
    if alike:
        which = [f"{listed(between, 'or')} on {_names(found)}" for found, between in alike.items()]
        parts.append(f"no difference is shown {listed(which, 'or')}, which is not evidence of none")
    return _of_these_weights(parts, pairs)


def seed_claim(differences: Sequence[SeedDifference], seeds: int) -> str:
    """One sentence over all pairs: what may be claimed of the methods; empty without a pair."""
    if not differences:
        return ""
    tested = [d for d in differences if d.p is not None]
    if not tested:
        return f"Nothing may be claimed of the methods: {differences[0].reason}."
    won = _grouped(((d.b, d.a) if d.better else (d.a, d.b), d.metric) for d in tested if d.exceeds)
    undecided = _grouped(((d.a, d.b), d.metric) for d in tested if not d.exceeds)
    parts = [
        f"{code(x)} is better than {code(y)} on {_names(metrics)} by more than seeds differ"
        for (x, y), metrics in won.items()
    ]
    parts += [
        _no_difference(code(a), code(b), metrics, " beyond the spread of seeds")
        for (a, b), metrics in undecided.items()
    ]
    return f"Over {seeds} seeds, with this model and data: {clauses(parts)}."


def pairs_family(found: Sequence[PairComparison]) -> str:
    """The metrics that were tested together in each pair, and the number of pairs; empty without
    a pair."""
    if not found:
        return ""
    drawn = _by_text(found, lambda one: one.units.text)
    units = listed(
        [text if len(drawn) == 1 else f"{text} ({_short(of)})" for text, of in drawn.items()]
    )
    families = _families(
        {
            f"{code(pair.b)} − {code(pair.a)}": ([c.metric for c in pair.primary], pair.missing)
            for pair in found
        },
        "step-down",
    )
    pairs = f"; {len(found)} pairs, not corrected for one another" if len(found) > 1 else ""
    return f"unit: {units} · {families}{pairs}"


def seeds_family(differences: Sequence[SeedDifference]) -> str:
    """The metrics that Holm's correction covered across seeds; empty where nothing was compared."""
    if differences and all(d.p is None for d in differences):
        return f"no test: {differences[0].reason}"
    pairs = _grouped((f"{code(d.b)} − {code(d.a)}", d) for d in differences)
    unmeasured = {metric.key: "not measured under every seed" for metric in PRIMARY}
    return _families(
        {
            pair: (
                [d.metric for d in found if d.p is not None],
                {
                    metric: why
                    for metric, why in (unmeasured | {d.metric: d.reason for d in found}).items()
                    if why
                },
            )
            for pair, found in pairs.items()
            if any(d.p is not None for d in found)
        },
        "Holm",
    )


def checkpoints_family(found: Sequence[BestCheckpoint]) -> str:
    """The metrics that Holm's correction covered for checkpoints; empty where none was tested."""
    return _family((list(dict.fromkeys(one.metric for one in found)), {}), "Holm")


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`, or with another word before the last."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def clauses(parts: Sequence[str]) -> str:
    """Main clauses in one sentence: `a`, `a; and b`, `a; b; and c`."""
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"


def _why(pair: PairComparison, c: Comparison) -> str:
    """Why there is no verdict, and what would give one."""
    on = pair.tested[c.metric]
    if on.units.too_few:
        return on.units.too_few
    if c.minimum_detectable is None:
        return "they did not differ on a single example"
    metric, needed = METRICS[c.metric], needed_text(c)
    text = (
        f"only a true difference of about {metric.show_size(c.minimum_detectable)} would be seen "
        "with 80% probability here"
    )
    if needed == NONE:
        return text
    if c.n_needed is not None and c.n_needed <= on.n:
        return f"{text}; one of the size seen would be, but was not beyond noise"
    many = "more than a hundred times as many examples"
    examples = many if c.n_needed is None else f"about {needed} examples"
    return f"{text}; one of the size seen would take {examples} (here {on.n:,})"


def _no_difference(a: str, b: str, metrics: Sequence[str], beyond: str = "") -> str:
    return (
        f"no difference between {a} and {b}{beyond} is shown on {_names(metrics)}, which is not "
        "evidence that they are equal"
    )


def _of_these_weights(parts: Sequence[str], pairs: Sequence[PairComparison]) -> str:
    """``parts`` in one sentence, with what they are about and on which metrics nothing is said."""
    unsaid = _grouped((why, metric) for metric, why in _too_few(pairs).items())
    nothing = [f"nothing may be claimed on {_names(of)}: {why}" for why, of in unsaid.items()]
    text = clauses([*parts, *nothing])
    scopes = _by_text(pairs, lambda one: one.scope)
    about = ", ".join(
        f"on {_names(metrics)} about {scope}" if len(scopes) > 1 else f"about {scope}"
        for scope, metrics in scopes.items()
        if scope
    )
    return (
        f"{text[:1].upper()}{text[1:]} (for these sets of weights, {about or 'on this data'}; "
        f"{THREE_SEEDS})."
    )


def _too_few(pairs: Sequence[PairComparison]) -> dict[str, str]:
    """The metrics that have too few units in every pair that has them, with the reason."""
    found = _grouped(
        (metric, one.units.too_few) for pair in pairs for metric, one in pair.tested.items()
    )
    return {metric: reasons[0] for metric, reasons in found.items() if all(reasons)}


def _nothing(pairs: Sequence[PairComparison]) -> str:
    return f"Nothing may be claimed: {'; '.join(dict.fromkeys(_too_few(pairs).values()))}."


def _by_text(
    pairs: Sequence[PairComparison], text: Callable[[Tested], str]
) -> dict[str, list[str]]:
    """The metrics by what ``text`` says of them, each once."""
    said = dict.fromkeys(
        (text(one), metric) for pair in pairs for metric, one in pair.tested.items()
    )
    return _grouped(said)


def _short(metrics: Sequence[str]) -> str:
    return listed([METRICS[metric].short for metric in metrics])


def _names(metrics: Sequence[str]) -> str:
    return listed([METRICS[metric].title for metric in metrics])


def _grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """The values of each key, in order of appearance."""
    found: dict[Key, list[Value]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _families(families: Mapping[str, Family], by: str) -> str:
    """One phrase for all pairs where they share it, else one a pair."""
    alike = {_family(family, by, " of each pair") for family in families.values()}
    if len(alike) <= 1:
        return "".join(alike)
    return "; ".join(f"{pair}: {_family(family, by)}" for pair, family in families.items())


def _family(family: Family, by: str, of: str = "") -> str:
    metrics, missing = family
    if not metrics:
        return ""
    by_reason = _grouped((why, METRICS[metric].short) for metric, why in missing.items())
    absent = [f"no {listed(names, 'or')}: {escape(why)}" for why, names in by_reason.items()]
    short = _short(metrics)
    tested = (
        f"{by} over {short}{of}" if len(metrics) > 1 else f"{short} alone, so without a correction"
    )
    return f"{tested} ({'; '.join(absent)})" if absent else tested
