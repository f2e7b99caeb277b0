"""Statistics against published and hand-computed values."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from harness.stats.intervals import (
    TableSums,
    cluster_bootstrap,
    table_sums,
    token_weighted_loss,
)
from harness.stats.paired import (
    ALPHA,
    FLIP_SEED,
    FLIPS,
    flip_test,
    holm,
    largest_lead,
    mcnemar,
    ratio_test,
    score_interval,
    sign_flip,
)
from harness.stats.power import (
    detectable_errors,
    fewest_differing,
    fewest_flips,
    first_level,
    minimum_detectable,
    times_needed,
)
from harness.stats.rates import clopper_pearson, clustered_rate, design_effect
from harness.stats.units import units_of

# Darwin's maize, differences in eighths of an inch; Fisher, The Design of Experiments, §21.
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)


def test_sign_flip_gives_fishers_count_on_darwins_maize() -> None:
    # 863 of 32,768 sign patterns reach the observed sum on one side (ties included).
    assert sign_flip(DARWIN) == 2 * 863 / 2**15


def test_sign_flip_enumerates_small_cases() -> None:
    # |±3 ± 1 ± 1| >= 5 only for +++ and ---.
    assert sign_flip(np.array([3.0, 1.0, 1.0])) == 2 / 8
    assert sign_flip(np.ones(6)) == 2 / 64


def test_sign_flip_without_differences_is_one_and_zero_tables_do_not_count() -> None:
    assert sign_flip(np.zeros(50)) == 1.0
    assert sign_flip(np.array([])) == 1.0
    assert sign_flip(np.array([3.0, 0.0, 1.0, 0.0, 1.0])) == 2 / 8


def test_sign_flip_ties_by_rounding_count_as_hits() -> None:
    assert sign_flip(np.array([0.1, 0.2, -0.3])) == 1.0


def test_monte_carlo_sign_flip_agrees_with_the_exact_one_and_is_never_zero() -> None:
    many = np.concatenate([DARWIN, np.full(2, 1e-12)])  # 17 units: beyond enumeration
    exact = 2 * 863 / 2**15
    assert sign_flip(many) == pytest.approx(exact, abs=4 * (exact * (1 - exact) / FLIPS) ** 0.5)
    assert sign_flip(np.ones(100)) == 1 / 100_001


def test_sign_flip_on_one_example_a_table_is_mcnemar() -> None:
    differences = np.array([1.0] * 10 + [-1.0] * 2)
    assert sign_flip(differences) == pytest.approx(mcnemar(10, 2))


def reference(differences: np.ndarray, patterns: np.ndarray, drawn: bool) -> list[float]:
    """Westfall and Young's step-down p values, written down plainly: loops, no vectors of flips."""
    rows = [row for row in differences.tolist() if any(row)]
    metrics = range(differences.shape[1])
    scale = [math.sqrt(sum(row[m] ** 2 for row in rows)) for m in metrics]

    def statistic(signs: list[int], m: int) -> float:
        total = sum(sign * row[m] for sign, row in zip(signs, rows, strict=True))
        return abs(total) / scale[m] if scale[m] else 0.0

    observed = [statistic([1] * len(rows), m) for m in metrics]
    order = sorted(metrics, key=lambda m: -observed[m])
    flipped = [[statistic(list(signs), m) for m in metrics] for signs in patterns]
    found, p = dict.fromkeys(metrics, 0.0), 0.0
    for step, m in enumerate(order):
        hits = sum(max(one[k] for k in order[step:]) >= observed[m] - 1e-9 for one in flipped)
        p = max(p, (1 + hits) / (1 + len(flipped)) if drawn else hits / len(flipped))
        found[m] = p
    return [found[m] for m in metrics]


@pytest.mark.parametrize("seed", range(6))
def test_the_step_down_test_is_the_plain_one_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(2, 9)
    differences = np.column_stack(
        [rng.normal(0.4, 1, rows), rng.integers(-1, 2, rows), rng.integers(-1, 2, rows)]
    )
    differences[0] = 0.0  # a unit that never differs counts for nothing
    moving = int(np.any(differences != 0, axis=1).sum())
    patterns = np.array(list(itertools.product([1, -1], repeat=moving)))
    assert flip_test(differences).p_family == pytest.approx(
        reference(differences, patterns, drawn=False)
    )


def test_drawn_flips_are_the_bits_of_the_definitions_own_generator() -> None:
    # 20 units: one word of 64 bits a flip, bit j flips unit j. A thousand of them by hand.
    differences = np.random.default_rng(3).normal(0.3, 1.0, (20, 2))
    words = np.random.PCG64(FLIP_SEED).random_raw(FLIPS)
    signs = np.array([[1 - 2 * (int(word) >> j & 1) for j in range(20)] for word in words[:1000]])
    scale = np.sqrt((differences**2).sum(axis=0))
    by_hand = np.abs(signs @ differences / scale).max(axis=1)
    every = 1 - 2 * (words[:, None] >> np.arange(20, dtype=np.uint64) & np.uint64(1)).astype(float)
    largest = np.abs(every @ differences / scale).max(axis=1)
    assert largest[:1000] == pytest.approx(by_hand)
    found = flip_test(differences)
    observed = np.abs(differences.sum(axis=0) / scale)
    first = int(observed.argmax())
    assert found.p_family[first] == (1 + (largest >= observed[first]).sum()) / (1 + FLIPS)
    # A second call, any run, any machine: the same.
    assert flip_test(differences) == found


def test_nearly_equal_metrics_cost_nothing_and_independent_ones_do() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0.25, 1.0, 60)
    twice = flip_test(np.column_stack([one, one]))
    assert twice.p_family == twice.p == [sign_flip(one)] * 2
    other = flip_test(np.column_stack([one, rng.normal(0.0, 1.0, 60)]))
    assert other.p[0] < other.p_family[0] <= 2 * other.p[0] + 0.001


@pytest.mark.parametrize("units", [6, 7, 12, 16, 17, 60])
def test_interval_and_first_step_agree_always(units: int) -> None:
    rng = np.random.default_rng(units)
    for _ in range(40):
        weights = rng.integers(1, 6, units).astype(float)
        columns = [rng.integers(-2, 3, units) + rng.integers(0, 2), rng.normal(0.3, 1.0, units)]
        differences = np.column_stack(columns).astype(float)
        found = flip_test(differences)
        for m in range(2):
            low, high = score_interval(TableSums(differences[:, m], weights), found.critical)
            assert (min(found.p_family) < ALPHA and not low <= 0 <= high) or low <= 0 <= high
            scale = math.sqrt((differences[:, m] ** 2).sum())
            beyond = abs(differences[:, m].sum()) > found.critical * scale
            assert beyond == (not low <= 0.0 <= high)
            wide = score_interval(TableSums(differences[:, m], weights), found.critical, True)
            assert (wide == (low, high)) == beyond
            assert wide[0] <= low <= high <= wide[1]


def test_the_interval_is_d_plus_or_minus_c_times_se_by_hand() -> None:
    # D = 2, 1, 0, 1 of W = 1 each, c = 1: (4 - 4x)^2 = 6 - 8x + 4x^2, so 12x^2 - 24x + 10 = 0.
    found = score_interval(TableSums(np.array([2.0, 1.0, 0.0, 1.0]), np.ones(4)), 1.0)
    assert found == pytest.approx((1 - math.sqrt(1 / 6), 1 + math.sqrt(1 / 6)))
    # No end, since c^2 = 4 = the number of units: se of zero, 4/4 ± 2 √6 / 4.
    found = score_interval(TableSums(np.array([2.0, 1.0, 0.0, 1.0]), np.ones(4)), 2.0)
    assert found == pytest.approx((1 - math.sqrt(6) / 2, 1 + math.sqrt(6) / 2))


def test_answers_that_did_not_differ_claim_no_certainty() -> None:
    # Two units that differ wholly are added: ΣD² = 2, so (δ·100)² = 1.96² (2 + 100 δ²).
    same = TableSums(np.zeros(100), np.ones(100))
    z2 = 1.959964**2
    edge = math.sqrt(2 * z2 / (100**2 - 100 * z2))
    assert score_interval(same, 1e-9, whole=True) == pytest.approx((-edge, edge))
    assert score_interval(same, 1e-9) == pytest.approx((0.0, 0.0))


def test_the_largest_of_one_column_is_a_one_sided_sign_flip() -> None:
    column = np.array([3.0, 1.0, 1.0, 0.0])[:, None]
    assert largest_lead(column, 0)[0] == 1 / 8
    assert largest_lead(DARWIN[:, None], 0)[0] == 863 / 2**15
    many = np.random.default_rng(2).normal(0.1, 1.0, (60, 1))
    assert largest_lead(many, 0)[0] == pytest.approx(sign_flip(many[:, 0]) / 2, abs=0.005)


def test_the_largest_of_several_columns_pays_for_the_choice_by_hand() -> None:
    # Three units, signs flipped together. Column a sums |3| only for +++ (and -3 for ---);
    # column b is +--, so -3/sqrt(3) turns to +3/sqrt(3) where a's do not: 2 of 8 reach a's sum.
    both = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, -1.0]])
    assert largest_lead(both, 0)[0] == 2 / 8
    # A column that never differs neither helps nor hurts.
    padded = np.column_stack([np.zeros(3), both])
    assert largest_lead(padded, 1)[0] == 2 / 8
    assert largest_lead(padded, 0)[0] == 1.0
    twice = np.column_stack([both[:, 0], both[:, 0]])
    assert largest_lead(twice, 0)[0] == 1 / 8


def test_exact_mcnemar_by_hand() -> None:
    assert mcnemar(10, 1) == pytest.approx(2 * (1 + 11) / 2**11)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(4, 4) == 1.0


def test_pairing_sees_what_an_unpaired_test_misses() -> None:
    # n = 220: 159 right by both, 22 fixed, 7 broken; 166 against 181 right.
    from statsmodels.stats.proportion import proportions_ztest

    assert mcnemar(22, 7) == pytest.approx(0.008, abs=0.0005)
    assert proportions_ztest([166, 181], [220, 220])[1] == pytest.approx(0.080, abs=0.0005)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_holm_gives_holms_own_steps() -> None:
    # Four tests at 0.05: 0.005 <= 0.05/4 and 0.011 <= 0.05/3 are rejected, 0.03 > 0.05/2 is not,
    # and then neither is 0.04.
    adjusted = holm([0.03, 0.005, 0.04, 0.011])
    assert adjusted == pytest.approx([0.06, 0.02, 0.06, 0.033])
    assert [p < 0.05 for p in adjusted] == [False, True, False, True]


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p_values = np.random.default_rng(0).random(12).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_clopper_pearson_by_hand() -> None:
    # 0 of n: 1 - 0.025^(1/n); all of n: its mirror; 1 of 2: low solves 1 - (1-p)^2 = 0.025.
    assert clopper_pearson(0, 20) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert clopper_pearson(1, 2) == pytest.approx((1 - math.sqrt(0.975), math.sqrt(0.975)))
    # Newcombe 1998, table I, method 5 (Clopper-Pearson): 81 of 263 and 15 of 148.
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert clopper_pearson(15, 148) == pytest.approx((0.0578, 0.1617), abs=5e-5)


@given(st.floats(0.5, 1e5), st.floats(0.0, 1.0))
def test_clopper_pearson_is_scipys_quantile_of_the_beta_distribution(
    n: float, share: float
) -> None:
    right, wrong = n * share, n * (1.0 - share)
    low, high = clopper_pearson(right, n)
    # Continued fraction and Newton's steps end within some 1e-15 of 1; a limit near 0 is as near.
    if right > 0.01:
        assert low == pytest.approx(special.betaincinv(right, wrong + 1, 0.025), rel=1e-8)
    if wrong > 0.01:
        assert high == pytest.approx(special.betaincinv(right + 1, wrong, 0.975), rel=1e-8)


def test_the_design_effect_by_hand() -> None:
    # Units of 2: right 2, 0, and the six that are added, three 2 and three 0: p = 1/2, residuals
    # ±1 each, so se² = 8/7 · 8 / 16² = 1/28; alone p(1-p)/16 = 1/64. deff = 64/28.
    assert design_effect([2.0, 0.0], [2.0, 2.0]) == pytest.approx(64 / 28)
    assert design_effect([1.0] * 40, [2.0] * 40) == 1.0


def test_no_further_right_answer_moves_a_limit_down() -> None:
    rng = np.random.default_rng(4)
    for tables in (6, 20, 60):
        sizes = rng.integers(1, 6, tables)
        names = np.repeat(np.arange(tables), sizes)
        for turn in range(4):
            order = rng.permutation(len(names)) if turn else np.arange(len(names))
            correct = np.zeros(len(names))
            last = (0.0, 0.0)
            for one in order:
                found = clustered_rate(correct, names)
                assert found is not None
                assert found[0] >= last[0] - 0.001
                assert found[1] >= last[1] - 0.001
                last = found
                correct[one] = 1.0


def test_the_unit_is_the_table_or_with_few_tables_the_question() -> None:
    six = units_of([f"t{i % 6}" for i in range(30)])
    assert (six.kind, six.count, six.text, six.enough) == ("table", 6, "6 tables", True)
    five = units_of([f"t{i % 5}" for i in range(30)])
    assert (five.kind, five.count, five.text) == ("question", 30, "30 questions on 5 tables")
    one = units_of(["t"] * 4)
    assert (one.kind, one.count, one.text, one.enough) == (
        "question", 4, "4 questions on 1 table", False,
    )  # fmt: skip
    alone = units_of([f"t{i}" for i in range(8)])
    assert (alone.kind, alone.text) == ("question", "8 examples")


def test_table_sums_weigh_examples_within_tables() -> None:
    sums = table_sums([1.0, 2.0, 3.0], ["a", "b", "a"], [1.0, 1.0, 2.0])
    assert sums.numerators.tolist() == [4.0, 2.0]
    assert sums.weights.tolist() == [3.0, 1.0]
    assert sums.estimate == 1.5


def test_ratio_standard_error_by_hand() -> None:
    # theta = 6/4; residuals 4 - 4.5 = -0.5 and 2 - 1.5 = 0.5; se = sqrt(2/1 * 0.5)/4
    sums = TableSums(np.array([4.0, 2.0]), np.array([3.0, 1.0]))
    assert sums.standard_error == pytest.approx(0.25)


def test_clustering_widens_the_interval() -> None:
    tables = [f"t{i // 10}" for i in range(200)]
    correct = np.repeat(np.random.default_rng(1).random(20) < 0.6, 10)
    clustered = clustered_rate(correct, tables)
    alone = clopper_pearson(int(correct.sum()), 200)
    assert clustered is not None
    assert clustered[1] - clustered[0] > 2 * (alone[1] - alone[0])


def test_a_rate_of_one_or_zero_claims_no_certainty() -> None:
    tables = [f"t{i // 5}" for i in range(50)]
    # All right: ten units of 5 and six more, three of them wrong: p = 13/16, of 16 · 5 examples;
    # se² = 16/15 · (13 · (5 · 3/16)² + 3 · (5 · 13/16)²) / 80², alone p (1 - p) / 80.
    deff = 16 / 15 * 25 * (13 * 9 + 3 * 169) / 256 / 80**2 / (13 * 3 / 256 / 80)
    right, wrong = clustered_rate([True] * 50, tables), clustered_rate([False] * 50, tables)
    assert right is not None
    assert wrong is not None
    assert right[0] == pytest.approx(0.025 ** (deff / 50))
    assert (right[1], wrong[0]) == (1.0, 0.0)
    assert wrong[1] == pytest.approx(1 - right[0])
    # One table: the questions are the units.
    assert clustered_rate([True] * 20, ["t"] * 20) == pytest.approx(
        clopper_pearson(20, 20), abs=0.02
    )
    assert clustered_rate([], []) is None


def test_token_weighted_loss_interval_holds_the_mean_and_is_seeded() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 50, 300)
    nll = tokens * rng.normal(1.0, 0.2, 300)
    tables = [f"t{i // 3}" for i in range(300)]
    found = token_weighted_loss(nll, tokens, tables, seed=4)
    assert found is not None
    assert found[0] < nll.sum() / tokens.sum() < found[1]
    assert found == token_weighted_loss(nll, tokens, tables, seed=4)
    assert found != token_weighted_loss(nll, tokens, tables, seed=5)


@pytest.mark.parametrize(
    ("n", "discordant", "points"),
    [(100, 5, 6.3), (500, 25, 2.8), (2000, 100, 1.4), (15878, 794, 0.5)],
)
def test_minimum_detectable_tends_to_the_known_sizes(
    n: int, discordant: int, points: float
) -> None:
    # z(0.975) + z(0.8) = 2.8016 standard errors of sqrt(d / n), one table an example.
    assert 100 * 2.8016 * (discordant / n / n) ** 0.5 == pytest.approx(points, abs=0.05)
    differences = np.zeros(n)
    differences[:discordant] = np.resize([1.0, -1.0], discordant)
    found = minimum_detectable(TableSums(differences, np.ones(n)), ALPHA, discordant)
    assert found is not None
    # Whole counts and a minimum of differing tables: larger where little was seen.
    assert points <= 100 * found + 0.05
    assert 100 * found == pytest.approx(points, abs=0.05 + 100 / n * (1 if n > 100 else 3))


def test_detectable_errors_against_the_noncentral_t() -> None:
    from scipy import stats

    for freedom in (11.0, 48.0, 5000.0):
        errors = detectable_errors(freedom, 0.05 / 3)
        critical = stats.t.ppf(1 - 0.05 / 6, freedom)
        assert stats.nct.sf(critical, freedom, errors) == pytest.approx(0.8, abs=1e-9)
    # z(1 - 0.05/6) + z(0.8) = 2.3940 + 0.8416
    assert detectable_errors(1e9, 0.05 / 3) == pytest.approx(3.2356, abs=1e-3)


def test_fewest_differing_by_the_poisson_distribution() -> None:
    from scipy import stats

    # Seven tables must all differ one way to pass 0.05 / 3; nine are expected then.
    assert fewest_flips(ALPHA / 3) == 7
    assert fewest_differing(ALPHA / 3) == pytest.approx(9.075, abs=1e-3)
    assert stats.poisson.sf(6, fewest_differing(ALPHA / 3)) == pytest.approx(0.8)


def test_minimum_detectable_grows_with_the_family_and_with_clustering() -> None:
    alone = TableSums(np.array([1.0, -1.0] * 100), np.ones(200))
    together = TableSums(np.array([5.0, -5.0] * 20), np.full(40, 5.0))
    one, three = (minimum_detectable(alone, ALPHA / m, 200) for m in (1, 3))
    clustered = minimum_detectable(together, ALPHA, 200)
    assert one is not None
    assert three is not None
    assert clustered is not None
    assert one < three
    assert clustered > 2 * one
    assert minimum_detectable(TableSums(np.zeros(9), np.ones(9)), ALPHA / 3, 0) is None


def test_the_first_step_is_between_bonferronis_level_and_five_percent() -> None:
    rng = np.random.default_rng(5)
    columns = rng.normal(0.0, 1.0, (200, 3))
    apart = flip_test(columns).critical
    alone = flip_test(columns[:, :1]).critical
    assert first_level(alone, 200, 1) == pytest.approx(ALPHA, rel=0.05)
    assert first_level(apart, 200, 3) == pytest.approx(ALPHA / 3, rel=0.15)
    assert first_level(flip_test(columns[:, [0, 0, 0]]).critical, 200, 3) == pytest.approx(
        ALPHA, rel=0.05
    )
    assert first_level(3.0, 8, 3) == ALPHA / 3
    # u = 2 of 8 units: t = 2 / sqrt(1 - 4/8), seven degrees of freedom.
    assert first_level(2.0, 8, 3) == pytest.approx(2 * 0.0125, abs=0.002)


def test_as_many_times_the_examples_as_are_needed_make_the_size_detectable() -> None:
    rng = np.random.default_rng(6)
    sums = TableSums(rng.normal(0.0, 1.0, 60), np.ones(60))
    here = minimum_detectable(sums, ALPHA)
    assert here is not None
    times = times_needed(sums, ALPHA, here / 2)
    assert times == pytest.approx(4.0, rel=0.05)  # a standard error halves with four times as many
    assert minimum_detectable(sums, ALPHA, times=times or 0) == pytest.approx(here / 2, rel=1e-3)
    assert times_needed(sums, ALPHA, here) == 1.0
    assert times_needed(sums, ALPHA, here / 20) is None
    assert times_needed(TableSums(np.zeros(9), np.ones(9)), ALPHA, 0.1, 0) is None


def test_fewest_flips_is_the_first_count_that_can_pass() -> None:
    for family in (1, 3):
        k = fewest_flips(ALPHA / family)
        assert sign_flip(np.ones(k)) <= 0.05 / family < sign_flip(np.ones(k - 1))


def test_ratio_interval_of_interleaved_trials_and_of_trials_apart() -> None:
    paired = ratio_test([10, 11, 12], [20, 22, 24], paired=True)
    apart = ratio_test([10, 11, 12], [20, 22, 24], paired=False)
    assert paired is not None
    assert apart is not None
    assert paired[0] == pytest.approx((2.0, 2.0))
    assert apart[0][0] < 2.0 < apart[0][1]
    assert ratio_test([10], [20, 21], paired=False) is None
    assert ratio_test([0, 10], [20, 21], paired=False) is None
    assert ratio_test([10, 11, 12], [20, 21], paired=True) is None


def p_of(a: list[float], b: list[float]) -> float:
    found = ratio_test(a, b, paired=False)
    assert found is not None
    return found[1]


def test_the_p_of_a_ratio_agrees_with_its_interval() -> None:
    # By hand: logarithms 0, 0.2 and 0.5, 0.7; t = 0.5 / sqrt(0.02 / 2 + 0.02 / 2) = 3.5355, two
    # degrees of freedom: p = 1 - t / sqrt(2 + t**2) = 1 - 3.5355 / 3.8079.
    a, b = np.exp([0.0, 0.2]).tolist(), np.exp([0.5, 0.7]).tolist()
    assert p_of(a, b) == pytest.approx(0.07153, abs=1e-4)
    rng = np.random.default_rng(7)
    for _ in range(50):
        a, b = (rng.lognormal(mean, 0.05, 3).tolist() for mean in (0.0, 0.1))
        found = ratio_test(a, b, paired=False)
        assert found is not None
        interval, p = found
        assert (p < 0.05) == (not interval[0] <= 1.0 <= interval[1])
    assert (p_of([10.0, 10.0], [10.0, 10.0]), p_of([9.0, 9.0], [10.0, 10.0])) == (1.0, 0.0)


@pytest.mark.slow
def test_the_whole_of_wikisql_takes_seconds() -> None:
    rng = np.random.default_rng(1)
    tables = rng.integers(0, 5230, 15_878).tolist()
    sums = table_sums(rng.normal(0, 1, 15_878), tables)
    # Each draws 10,000 times over 5,230 tables: the yardstick draws as many numbers, once.
    start = time.process_time()
    np.random.default_rng(0).standard_normal((10_000, 5_230)).sum()
    yardstick = time.process_time() - start
    start = time.process_time()
    flip_test(np.column_stack([sums.numerators] * 3))
    cluster_bootstrap(sums)
    took = time.process_time() - start
    print(f"{took / yardstick:.2f} times the yardstick's {yardstick:.2f} s")
    assert took < 6 * yardstick
