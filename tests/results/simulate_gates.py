"""How often the shipped gates pass and fail: of equal checkpoints, and of ones that lost something.

    python -m tests.results.simulate_gates [RUN ...]         # prints the tables
    python -m tests.results.simulate_gates --docs [RUN ...]  # and writes them into docs/gates.md

*Equal* are two trainings of one variant that differ in the seed alone. Input: stored runs (by
default all under results/), of which the variants with the most seeds count -> output: shares of
pass, inconclusive and fail by metric, number of examples and true loss; the spread between seeds;
the smallest margin with which equal checkpoints fail at most 2% of the time.

A world is an ordered pair of seeds of one variant, its tables drawn with replacement, as many as
the number of examples asks for. What this pair of seeds happens to differ by is taken out; in its
place comes a difference drawn from a normal distribution with the pooled variance between seeds
(what the seeds' means differ by, less what sampling of tables alone makes them differ by; never
below zero), and the true loss. For a rate half of a shift undoes answers that one side alone had
right, half changes answers that both had right or both wrong, so that the share of answers that
differ stays what it was; a loss is shifted as it is. Test and interval are those of the gates
(sign flips of tables, each metric alone), with fewer flips.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compare.gate_power import examples_needed
from harness.compare.metrics import METRICS, Metric
from harness.compare.thresholds import load_gates
from harness.markdown import table_of
from harness.runs.store import StoredRun, read_run
from harness.schema.results import GateRule
from tests import simulated

ROOT = Path(__file__).resolve().parents[2]
PAGE = "gates.md"
EXAMPLES = (200, 500, 1_000, 2_000, 5_000)
LOSSES = {"rate": (0.0, 0.03, 0.05, 0.10), "loss": (0.0, 0.02, 0.05, 0.10)}
"""True losses: points of a rate, nats a token."""
WORLDS = 10_000
FLIPS = 10_000
MANY = 200
"""Tables from which on the flips' 95% quantile is the normal one."""
Z95 = 1.959963984540054
ALLOWED = 0.02
"""Of equal checkpoints: how many may fail."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeedPair:
    """Two trainings of one variant on one metric, summed by table; all arrays ``(tables,)``."""

    variant: str
    differences: Floats
    weights: Floats
    counts: Floats | None
    """``(4, tables)``: answers fixed, broken, right in both, wrong in both; None for a loss."""
    baseline: float
    n: int
    asked: int
    """Test examples, those included that have no grade."""

    @property
    def mean(self) -> float:
        """What the two differ by."""
        return float(self.differences.sum() / self.weights.sum())

    @property
    def error(self) -> float:
        """The standard error of :attr:`mean` over tables."""
        tables = len(self.weights)
        residuals = self.differences - self.mean * self.weights
        return math.sqrt(tables / (tables - 1) * residuals @ residuals) / float(self.weights.sum())


@dataclass(frozen=True)
class Shares:
    """What became of simulated checkpoints."""

    passed: float
    failed: float

    def __str__(self) -> str:
        undecided = 1.0 - self.passed - self.failed
        return " / ".join(f"{100 * share:.1f}" for share in (self.passed, undecided, self.failed))


def stored_runs() -> list[str]:
    """Every run under results/ that is not git-ignored."""
    found = sorted((ROOT / "results").glob("**/results.json"))
    return [str(file.parent) for file in found if "runs" not in file.parts]


def seeds_by_variant(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    """The runs of each variant that differ in the seed alone: those with the most seeds."""
    groups: dict[str, dict[int, StoredRun]] = {}
    for run in runs:
        for name, result in run.results.variants.items():
            if result.adapter is None:
                continue
            config = {key: value for key, value in result.config.items() if key != "seed"}
            protocols = run.results.protocols
            setting = (name, config, run.results.model.sha256, run.results.dataset.sha256,
                       protocols.loss, protocols.execution)  # fmt: skip
            seeds = groups.setdefault(json.dumps(setting, sort_keys=True, default=str), {})
            seeds.setdefault(run.results.run.seed, run)
    most = max(map(len, groups.values()), default=0)
    if most < 3:
        raise SystemExit("fewer than three seeds of any variant are stored: nothing to simulate")
    return {
        json.loads(key)[0]: [seeds[seed] for seed in sorted(seeds)]
        for key, seeds in groups.items()
        if len(seeds) == most
    }


def seed_pairs(metric: Metric, seeds: dict[str, list[StoredRun]]) -> list[SeedPair]:
    """Every ordered pair of seeds of every variant."""
    made = []
    for variant, runs in seeds.items():
        rows = [getattr(run, metric.rows)(variant) or [] for run in runs]
        kept = [
            [terms for row in answers if (terms := _term(metric, row)) is not None]
            for answers in zip(*rows, strict=True)
        ]
        whole = [terms for terms in kept if len(terms) == len(runs)]
        names = {table: place for place, table in enumerate(sorted({t[0][0] for t in whole}))}
        index = np.array([names[terms[0][0]] for terms in whole])
        weights = np.array([terms[0][2] for terms in whole])
        for before, after in itertools.permutations(range(len(runs)), 2):
            x, y = (np.array([terms[side][1] for terms in whole]) for side in (before, after))
            tables = index, len(names), len(kept)
            made.append(_pair(metric, variant, (x, y, weights), tables))
    return made


def _term(metric: Metric, row: Any) -> tuple[str, float, float] | None:
    value, weight = metric.terms([row])[0].tolist()
    return None if math.isnan(value) else (row.table_id, value, weight)


def _pair(
    metric: Metric,
    variant: str,
    terms: tuple[Floats, Floats, Floats],
    tables: tuple[NDArray[np.int64], int, int],
) -> SeedPair:
    x, y, weights = terms
    index, size, asked = tables

    def by_table(values: Floats) -> Floats:
        return np.bincount(index, weights=values, minlength=size)

    counts = None
    if metric.kind == "rate":
        kinds = ((1 - x) * y, x * (1 - y), x * y, (1 - x) * (1 - y))
        counts = np.stack([by_table(kind) for kind in kinds])
    return SeedPair(
        variant,
        by_table(y - x),
        by_table(weights),
        counts,
        float(x.sum() / weights.sum()),
        len(x),
        asked,
    )


def spread_between_seeds(pairs: Sequence[SeedPair]) -> float:
    """Standard deviation of a training's true value, pooled over variants, never below zero."""
    by_variant: dict[str, list[SeedPair]] = {}
    for pair in pairs:
        by_variant.setdefault(pair.variant, []).append(pair)
    # The mean squared difference of two seeds is twice the variance between seeds.
    variances = [
        float(np.mean([pair.mean**2 - pair.error**2 for pair in of])) / 2.0
        for of in by_variant.values()
    ]
    return math.sqrt(max(0.0, float(np.mean(variances))))


@dataclass(frozen=True)
class Worlds:
    """Simulated comparisons ``(worlds,)``: how much worse, how bad at worst, whether beyond noise;
    and the baseline of each."""

    worse: Floats
    worst: Floats
    significant: NDArray[np.bool_]
    baseline: Floats

    def verdicts(self, rule: GateRule) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pass and which fail ``rule``, as ``harness.compare.gates`` judges them."""
        margin = np.maximum(rule.absolute, rule.relative * np.abs(self.baseline))
        failed = (self.worse > margin) & self.significant
        return ~failed & (np.maximum(self.worse, self.worst) < margin), failed

    def shares(self, rule: GateRule) -> Shares:
        """How many pass and fail ``rule``."""
        passed, failed = self.verdicts(rule)
        return Shares(float(passed.mean()), float(failed.mean()))

    def margin_for(self, share: float) -> float:
        """The smallest absolute margin with which at most ``share`` of them fail."""
        beyond = np.sort(np.where(self.significant, self.worse, -np.inf))[::-1]
        return max(0.0, float(beyond[math.floor(share * len(beyond))]))


def simulate(
    metric: Metric,
    pairs: Sequence[SeedPair],
    examples: int,
    loss: float = 0.0,
    worlds: int = WORLDS,
) -> Worlds:
    """Checkpoints with this true loss beside their seed's effect, on about so many examples.

    Worlds of the same place draw the same tables whatever the metric; the effects of their seeds
    are drawn for each metric by itself.
    """
    rng = np.random.default_rng([examples, round(1_000 * loss)])
    own = np.random.default_rng([list(METRICS).index(metric.key), examples])
    spread = math.sqrt(2.0) * spread_between_seeds(pairs)
    made = []
    for pair in pairs:
        count = math.ceil(worlds / len(pairs))
        shifts = own.normal(0.0, spread, count) - pair.mean + metric.sign * loss
        size = max(6, round(len(pair.weights) * examples / pair.asked))
        drawn = rng.integers(0, len(pair.weights), (count, size))
        differences = _shifted(pair, drawn, shifts, own)
        found = judged(metric, differences, pair.weights[drawn], critical_values(differences, own))
        made.append((*found, np.full(count, pair.baseline)))
    return Worlds(*(np.concatenate(parts) for parts in zip(*made, strict=True)))


def _shifted(
    pair: SeedPair, drawn: NDArray[np.int64], shifts: Floats, rng: np.random.Generator
) -> Floats:
    """The differences of the drawn tables ``(worlds, tables)``, moved by ``shifts`` on average."""
    differences = pair.differences[drawn]
    if pair.counts is None:
        moved: Floats = differences + shifts[:, None] * pair.weights[drawn]
        return moved
    rates = pair.counts.sum(axis=1) / pair.n
    # Down: answers that only the second side had right, and those that both had; up: the others.
    for sign, kinds in ((-1.0, (0, 2)), (1.0, (1, 3))):
        wanted = np.maximum(0.0, sign * shifts)
        first = np.minimum(wanted / 2.0, rates[kinds[0]])
        for kind, part in zip(kinds, (first, wanted - first), strict=True):
            share = np.minimum(1.0, part / max(rates[kind], 1e-12))
            of = pair.counts[kind][drawn].astype(np.int64)
            differences = differences + sign * rng.binomial(of, share[:, None])
    return differences


def judged(
    metric: Metric, differences: Floats, weights: Floats, critical: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Each world's worsening, the worst end of its interval, and whether it is beyond noise.

    As `harness.stats.paired.score_interval`, of many worlds at once.
    """
    total, weight = differences.sum(axis=1), weights.sum(axis=1)
    squares = np.square(differences).sum(axis=1)
    significant = np.abs(total) > critical * np.sqrt(squares)
    if metric.kind == "rate":
        tables = differences.shape[1]
        extra = (squares + (weight / tables) ** 2) / (np.count_nonzero(differences, axis=1) + 1)
        squares = np.where(significant, squares, squares + 2.0 * extra)
        critical = np.where(significant, critical, np.maximum(critical, Z95))
    c2 = critical**2
    leading = weight**2 - c2 * np.square(weights).sum(axis=1)
    middle = (total * weight - c2 * (differences * weights).sum(axis=1)) / leading
    reach = np.sqrt(np.maximum(0.0, middle**2 - (total**2 - c2 * squares) / leading))
    worst = metric.sign * middle + reach
    return metric.sign * total / weight, worst, significant


def critical_values(differences: Floats, rng: np.random.Generator) -> Floats:
    """What the statistic |sum| / root of the sum of squares must exceed, by sign flips."""
    worlds, tables = differences.shape
    squares = np.square(differences).sum(axis=1)
    if tables >= MANY:
        return np.full(worlds, Z95)
    signs = rng.choice([-1.0, 1.0], (FLIPS, tables))
    scale = np.sqrt(np.where(squares > 0.0, squares, 1.0))
    flipped = np.abs(signs @ (differences / scale[:, None]).T)
    place = FLIPS - math.ceil(0.05 * (1 + FLIPS)) + 1
    found: Floats = np.partition(flipped, place, axis=0)[place]
    return found


def quality_rules() -> Iterator[tuple[Metric, GateRule]]:
    """The shipped gates that are paired on examples."""
    for key, rule in load_gates().items():
        if METRICS[key].paired:
            yield METRICS[key], rule


def margins_table(seeds: dict[str, list[StoredRun]]) -> str:
    """What the margins must lie above, and from how many examples on equal checkpoints pass."""
    rows = []
    for metric, rule in quality_rules():
        pairs = seed_pairs(metric, seeds)
        n, spread = pairs[0].asked, spread_between_seeds(pairs)
        error = math.sqrt(float(np.mean([pair.error**2 for pair in pairs])))
        margin = rule.margin(float(np.mean([pair.baseline for pair in pairs])))
        needed = examples_needed(n, margin, error, spread)
        smallest = simulate(metric, pairs, EXAMPLES[0]).margin_for(ALLOWED)
        rows.append(
            {
                "Metric": f"`{metric.key}`",
                "Between seeds": metric.show_amount(spread),
                "Smallest margin": metric.show_amount(smallest),
                "Shipped margin": metric.show_amount(margin),
                "80% of equal checkpoints pass": f"from {needed:,} examples on"
                if needed
                else "with no number of examples",
            }
        )
    return table_of(rows)


def shares_table(seeds: dict[str, list[StoredRun]], kind: str) -> str:
    """Shares of pass / inconclusive / fail by metric, number of examples and true loss."""
    rows = []
    for metric, rule in quality_rules():
        if metric.kind != kind:
            continue
        pairs = seed_pairs(metric, seeds)
        for examples in EXAMPLES:
            row = {"Metric": f"`{metric.key}`", "Test examples": f"{examples:,}"}
            for loss in LOSSES[kind]:
                title = f"true loss of {metric.show_amount(loss)}" if loss else "equal"
                row[title] = str(simulate(metric, pairs, examples, loss).shares(rule))
            rows.append(row)
    return table_of(rows)


def together_table(seeds: dict[str, list[StoredRun]]) -> str:
    """What all quality gates of a run come to for equal checkpoints: what `--strict` meets."""
    rows = []
    for examples in EXAMPLES:
        found = [
            simulate(metric, seed_pairs(metric, seeds), examples).verdicts(rule)
            for metric, rule in quality_rules()
        ]
        passed = np.all([passed for passed, _ in found], axis=0)
        failed = np.any([failed for _, failed in found], axis=0)
        shares = Shares(float(passed.mean()), float(failed.mean()))
        rows.append(
            {"Test examples": f"{examples:,}", "all pass / some undecided / some fail": str(shares)}
        )
    return table_of(rows)


def block(seeds: dict[str, list[StoredRun]]) -> str:
    """What stands in docs/gates.md between the marks."""
    count = len(next(iter(seeds.values())))
    used = ", ".join(f"`{variant}`" for variant in seeds)
    return (
        f"From {count} stored seeds of {used}; {WORLDS:,} worlds a cell.\n\n"
        f"{margins_table(seeds)}\n\n"
        "Pass / inconclusive / fail in percent, at the shipped margins:\n\n"
        f"{shares_table(seeds, 'rate')}\n\n{shares_table(seeds, 'loss')}\n\n"
        "All these gates of an equal checkpoint at once, in percent:\n\n"
        f"{together_table(seeds)}"
    )


def main() -> None:
    """Print the tables; write them with --docs."""
    parser = simulated.parser(__doc__, PAGE)
    parser.add_argument("runs", nargs="*", help="stored runs (default: all under results/)")
    options = parser.parse_args()
    seeds = seeds_by_variant([read_run(run) for run in options.runs or stored_runs()])
    simulated.show(block(seeds), PAGE, options.docs)


if __name__ == "__main__":
    main()
