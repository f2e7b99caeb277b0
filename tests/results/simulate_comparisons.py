"""How often comparisons err, what they find, and what their intervals cover, in simulated worlds.

    python -m tests.results.simulate_comparisons          # prints the tables
    python -m tests.results.simulate_comparisons --docs   # and writes them into docs/statistics.md

A world is a test split on tables of one to five questions, answered by two systems. Losses differ
by a normal amount, of which the share ICC is the table's own; answers are fixed, broken or equal
by shares that a table draws from a Dirichlet distribution with that ICC; the hardened grade is the
plain one of 93% of those that differ. Losses are independent of answers, which is the worst case
for a family. The test is that of the definition with fewer flips (1,999), written for many worlds
at once; ``tests/results/test_results_simulation.py`` holds it against ``paired.flip_test``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.markdown import table_of
from harness.stats.intervals import TableSums
from harness.stats.paired import ALPHA, EXACT_UNITS, FLIP_SEED, TIE, score_interval
from harness.stats.power import first_level, minimum_detectable
from harness.stats.rates import clopper_pearson, design_effect
from harness.stats.welch import Welch
from tests import simulated

Floats = NDArray[np.float64]

PAGE = "statistics.md"

WORLDS = 10_000
FLIPS = 1_999
AT_ONCE = 500
METRICS = ("completion loss", "ex", "ex_hardened")
ICCS = (0.0, 0.2, 0.5)
HARDENED = 0.93


@dataclass(frozen=True)
class Setting:
    """What the worlds of one row of a table have in common."""

    tables: int
    discordant: float
    """Share of answers that one side alone has right."""
    icc: float
    loss: float = 0.0
    """True difference of the losses, in standard deviations of an example's."""
    ex: float = 0.0
    """True difference of the share of right answers."""


@dataclass(frozen=True)
class Worlds:
    """Differences ``(worlds, tables, metrics)``, questions ``(worlds, tables)``, and how many
    answers differ ``(worlds,)``."""

    differences: Floats
    sizes: Floats
    differ: Floats

    def sums(self, world: int, metric: int) -> TableSums:
        """One metric of one world."""
        return TableSums(self.differences[world, :, metric], self.sizes[world])


def make_worlds(setting: Setting, worlds: int, seed: int) -> Worlds:
    """So many worlds of a setting."""
    rng = np.random.default_rng(seed)
    shape = (worlds, setting.tables)
    sizes = rng.integers(1, 6, shape)
    own, shared = math.sqrt(1 - setting.icc), math.sqrt(setting.icc)
    losses = sizes * (setting.loss + shared * rng.normal(size=shape))
    losses += own * np.sqrt(sizes) * rng.normal(size=shape)
    up, down = (setting.discordant + sign * setting.ex for sign in (1, -1))
    shares = np.array([up / 2, down / 2, 1 - setting.discordant])
    drawn = np.broadcast_to(shares, (*shape, 3))
    if setting.icc:
        drawn = rng.gamma(shares * (1 / setting.icc - 1), size=(*shape, 3)) + 1e-300
        drawn = drawn / drawn.sum(axis=2, keepdims=True)
    fixed = rng.binomial(sizes, drawn[..., 0])
    rest = np.clip(drawn[..., 1] / np.maximum(1 - drawn[..., 0], 1e-12), 0.0, 1.0)
    broken = rng.binomial(sizes - fixed, rest)
    hardened = rng.binomial(fixed, HARDENED) - rng.binomial(broken, HARDENED)
    differences = np.stack([losses, fixed - broken, hardened], axis=2).astype(np.float64)
    return Worlds(
        differences, sizes.astype(np.float64), (fixed + broken).sum(axis=1).astype(np.float64)
    )


def signs_of(units: int) -> tuple[Floats, bool]:
    """Sign patterns ``(flips, units)``, and whether they are drawn: every pattern of few units."""
    if units <= EXACT_UNITS:
        bits = np.arange(2**units)[:, None] >> np.arange(units) & 1
    else:
        rng = np.random.Generator(np.random.PCG64(FLIP_SEED))
        bits = rng.integers(0, 2, (FLIPS, units))
    return 1.0 - 2.0 * bits, units > EXACT_UNITS


def family_tests(differences: Floats) -> tuple[Floats, Floats]:
    """The step-down p ``(worlds, metrics)`` and the critical value ``(worlds,)`` of each world."""
    signs, drawn = signs_of(differences.shape[1])
    scale = np.sqrt(np.square(differences).sum(axis=1, keepdims=True))
    scaled = np.divide(differences, scale, out=np.zeros_like(differences), where=scale > 0.0)
    p, critical = [], []
    for start in range(0, len(scaled), AT_ONCE):
        found = _families(scaled[start : start + AT_ONCE], signs, drawn)
        p.append(found[0])
        critical.append(found[1])
    return np.concatenate(p), np.concatenate(critical)


def _families(scaled: Floats, signs: Floats, drawn: bool) -> tuple[Floats, Floats]:
    worlds, units, metrics = scaled.shape
    columns = scaled.transpose(1, 0, 2).reshape(units, -1)
    flipped = np.abs(signs @ columns).reshape(-1, worlds, metrics)
    observed = np.abs(scaled.sum(axis=1))
    order = np.argsort(-observed, axis=1, kind="stable")
    ordered = np.take_along_axis(flipped, order[None], axis=2)
    largest = np.maximum.accumulate(ordered[..., ::-1], axis=2)[..., ::-1]
    hits = (largest >= np.take_along_axis(observed, order, axis=1) - TIE).sum(axis=0)
    flips = len(signs)
    p_ordered = np.maximum.accumulate((1 + hits) / (1 + flips) if drawn else hits / flips, axis=1)
    p = np.empty_like(p_ordered)
    np.put_along_axis(p, order, p_ordered, axis=1)
    allowed = math.ceil(ALPHA * (1 + flips)) - 2 if drawn else math.ceil(ALPHA * flips) - 1
    return p, np.partition(largest[..., 0], -1 - allowed, axis=0)[-1 - allowed] + TIE


def false_verdicts(setting: Setting, worlds: int, seed: int = 1) -> tuple[float, list[float]]:
    """Without a difference: the share of families with any verdict, and of each metric."""
    p, _ = family_tests(make_worlds(setting, worlds, seed).differences)
    wrong = p < ALPHA
    return float(wrong.any(axis=1).mean()), wrong.mean(axis=0).tolist()


def stated(setting: Setting, metric: int, worlds: int = 200, seed: int = 2) -> float:
    """The median of ``minimum_detectable`` over worlds without a difference."""
    made = make_worlds(setting, worlds, seed)
    _, critical = family_tests(made.differences)
    values = [
        minimum_detectable(
            made.sums(world, metric),
            first_level(float(critical[world]), made.sums(world, 0).effective, 3),
            int(made.differ[world]) if metric else None,
        )
        for world in range(worlds)
    ]
    return float(np.median([value for value in values if value is not None]))


def power(setting: Setting, metric: int, worlds: int, seed: int = 3) -> float:
    """How often a metric with a true difference gets its verdict."""
    p, _ = family_tests(make_worlds(setting, worlds, seed).differences)
    return float((p[:, metric] < ALPHA).mean())


def difference_coverage(setting: Setting, worlds: int, seed: int = 4) -> tuple[float, float]:
    """How often the intervals of ex hold its true difference: in its family, and alone."""
    made = make_worlds(setting, worlds, seed)
    _, together = family_tests(made.differences)
    _, alone = family_tests(made.differences[:, :, 1:2])
    held = [
        np.mean(
            [
                low <= setting.ex <= high
                for world in range(worlds)
                for low, high in [score_interval(made.sums(world, 1), float(c[world]), whole=True)]
            ]
        )
        for c in (together, alone)
    ]
    return float(held[0]), float(held[1])


def rate_coverage(tables: int, rate: float, icc: float, worlds: int, seed: int = 5) -> float:
    """How often the interval of a rate holds the true one."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, (worlds, tables))
    own = np.full(sizes.shape, rate)
    if icc:
        own = rng.beta(rate * (1 / icc - 1), (1 - rate) * (1 / icc - 1), sizes.shape)
    right = rng.binomial(sizes, own)
    held = 0
    for numerators, weights in zip(right.tolist(), sizes.tolist(), strict=True):
        deff = design_effect(numerators, weights)
        low, high = clopper_pearson(sum(numerators) / deff, sum(weights) / deff)
        held += low <= rate <= high
    return held / worlds


def seed_errors(seeds: int, ratio: float, worlds: int, seed: int = 6) -> tuple[float, float, float]:
    """Welch over three independent metrics with Holm: false verdicts of a family, what so many
    seeds can see (in spreads of a method), and how often that is found.

    Args:
        seeds: of each method.
        ratio: the spread of b over that of a.
        worlds: simulated.
        seed: of the draws.
    """
    from scipy import stats

    rng = np.random.default_rng(seed)
    a = rng.normal(size=(worlds, 3, seeds))
    b = ratio * rng.normal(size=(worlds, 3, seeds))
    first = ALPHA / 3
    p = stats.ttest_ind(b, a, axis=2, equal_var=False).pvalue
    wrong = float((p.min(axis=1) < first).mean())
    size = Welch(1.0, (1.0, ratio**2), (seeds, seeds)).minimum_detectable(first)
    found = stats.ttest_ind(b[:, 0] + size, a[:, 0], axis=1, equal_var=False).pvalue < first
    return wrong, size, float(found.mean())


def block(worlds: int = WORLDS) -> str:
    """The tables of docs/statistics.md."""
    settings = [
        Setting(tables, discordant, icc)
        for tables, discordant, icc in itertools.product((20, 60, 200), (0.05, 0.2), ICCS)
    ]
    parts = [
        f"**False verdicts** without any difference, {worlds:,} worlds a row (standard error "
        f"{100 * math.sqrt(ALPHA * (1 - ALPHA) / worlds):.1f} points at 5%):",
        table_of([_error_row(one, worlds) for one in settings]),
        "**Found** at the stated minimum detectable effect (80% is meant), "
        f"{worlds // 5:,} worlds a row:",
        table_of([_power_row(s, m, worlds // 5) for s in settings[6:] for m in (0, 1)]),
        f"**Held** by the 95% interval of a difference in ex, {worlds // 5:,} worlds a row:",
        table_of([_difference_row(one, worlds // 5) for one in settings]),
        f"**Held** by the 95% interval of a rate, {worlds // 5:,} worlds a cell:",
        table_of(
            [_rate_row(t, icc, worlds // 5) for t, icc in itertools.product((6, 20, 60, 200), ICCS)]
        ),
        "**Seeds**: Welch's t with Holm over three independent metrics, spreads of the two methods "
        f"equal or 1 to 3, {worlds:,} worlds a row:",
        table_of([_seed_row(n, r, worlds) for n, r in itertools.product((3, 5, 10), (1.0, 3.0))]),
    ]
    return "\n\n".join(parts)


def _start(setting: Setting) -> dict[str, str]:
    return {
        "Tables": str(setting.tables),
        "Answers that differ": f"{100 * setting.discordant:.0f}%",
        "ICC": f"{setting.icc:g}",
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _error_row(setting: Setting, worlds: int) -> dict[str, str]:
    family, metrics = false_verdicts(setting, worlds)
    shares = {name: _percent(share) for name, share in zip(METRICS, metrics, strict=True)}
    return _start(setting) | {"Any of the family": _percent(family)} | shares


def _power_row(setting: Setting, metric: int, worlds: int) -> dict[str, str]:
    size = stated(setting, metric)
    true = Setting(
        setting.tables,
        max(setting.discordant, size if metric else 0.0),
        setting.icc,
        **{"ex" if metric else "loss": size},
    )
    shown = f"{100 * size:.1f} points" if metric else f"{size:.3f} standard deviations"
    found = _percent(power(true, metric, worlds))
    return _start(setting) | {"Metric": METRICS[metric], "True difference": shown, "Found": found}


def _difference_row(setting: Setting, worlds: int) -> dict[str, str]:
    row = _start(setting)
    for name, ex in (("no difference", 0.0), ("60% of them one way", 0.6 * setting.discordant)):
        true = Setting(setting.tables, setting.discordant, setting.icc, ex=ex)
        family, alone = difference_coverage(true, worlds)
        row |= {f"{name}: in its family": _percent(family), f"{name}: alone": _percent(alone)}
    return row


def _rate_row(tables: int, icc: float, worlds: int) -> dict[str, str]:
    rates = (0.01, 0.02, 0.05, 0.3, 0.5)
    held = {f"{100 * r:g}%": _percent(rate_coverage(tables, r, icc, worlds)) for r in rates}
    return {"Tables": str(tables), "ICC": f"{icc:g}"} | held


def _seed_row(seeds: int, ratio: float, worlds: int) -> dict[str, str]:
    wrong, size, found = seed_errors(seeds, ratio, worlds)
    return {
        "Seeds of each": str(seeds),
        "Spreads": f"1 to {ratio:g}",
        "False verdicts of a family": _percent(wrong),
        "Minimum detectable, spreads": f"{size:.2f}",
        "Found": _percent(found),
    }


def main() -> None:
    """Print the tables; write them with --docs."""
    parser = simulated.parser(__doc__, PAGE)
    parser.add_argument("--worlds", type=int, default=WORLDS, help="simulated in the largest rows")
    options = parser.parse_args()
    simulated.show(block(options.worlds), PAGE, options.docs)


if __name__ == "__main__":
    main()
