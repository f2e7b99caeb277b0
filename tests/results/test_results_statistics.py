"""Statistics against published and hand-computed values."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from harness.stats.intervals import (
    TableSums,
    cluster_bootstrap,
    clustered_rate,
    studentized,
    table_sums,
    token_weighted_loss,
    zero_variance_interval,
)
from harness.stats.paired import (
    holm,
    mcnemar,
    ratio_test,
    sign_flip,
    sign_flip_largest,
)
from harness.stats.power import (
    detectable_errors,
    fewest_differing,
    fewest_flips,
    minimum_detectable,
)
from harness.stats.rates import wilson

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
    many = np.concatenate([DARWIN, np.full(2, 1e-12)])  # 17 tables: beyond enumeration
    assert sign_flip(many) == pytest.approx(2 * 863 / 2**15, abs=0.008)
    assert sign_flip(np.ones(100)) == 1 / 10_001


def test_sign_flip_on_one_example_a_table_is_mcnemar() -> None:
    differences = np.array([1.0] * 10 + [-1.0] * 2)
    assert sign_flip(differences) == pytest.approx(mcnemar(10, 2))


def test_the_largest_of_one_column_is_a_one_sided_sign_flip() -> None:
    column = np.array([3.0, 1.0, 1.0, 0.0])[:, None]
    assert sign_flip_largest(column, 0) == 1 / 8
    assert sign_flip_largest(DARWIN[:, None], 0) == 863 / 2**15
    many = np.random.default_rng(2).normal(0.1, 1.0, (60, 1))
    assert sign_flip_largest(many, 0) == pytest.approx(sign_flip(many[:, 0]) / 2, abs=0.01)


def test_the_largest_of_several_columns_pays_for_the_choice_by_hand() -> None:
    # Three tables, signs flipped together. Column a sums |3| only for +++ (and -3 for ---);
    # column b is +--, so -3/sqrt(3) turns to +3/sqrt(3) where a's do not: 2 of 8 reach a's sum.
    both = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, -1.0]])
    assert sign_flip_largest(both, 0) == 2 / 8
    # A column that never differs neither helps nor hurts.
    padded = np.column_stack([np.zeros(3), both])
    assert sign_flip_largest(padded, 1) == 2 / 8
    assert sign_flip_largest(padded, 0) == 1.0
    twice = np.column_stack([both[:, 0], both[:, 0]])
    assert sign_flip_largest(twice, 0) == 1 / 8


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


def test_wilson_by_hand_and_at_the_edges() -> None:
    # (8 + z²/2)/(10 + z²) ± ..., z = 1.959964
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert wilson(0, 0) is None
    zero = wilson(0, 20)
    assert zero is not None
    assert zero[0] == 0.0
    assert zero[1] == pytest.approx(0.1611, abs=1e-4)


@pytest.mark.parametrize(
    ("right", "of", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_newcombes_published_intervals(
    right: int, of: int, interval: tuple[float, float]
) -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    assert wilson(right, of) == pytest.approx(interval, abs=5e-5)


def test_studentized_interval_of_few_tables_is_students() -> None:
    # mean 2, se 1/sqrt(3), t(0.975, 2) = 4.302653
    found = studentized(TableSums(np.array([1.0, 2.0, 3.0]), np.ones(3)))
    assert found == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))


def test_studentized_interval_without_spread_or_tables() -> None:
    assert studentized(TableSums(np.zeros(5), np.ones(5))) == (0.0, 0.0)
    assert studentized(TableSums(np.array([1.0]), np.array([1.0]))) is None


def test_equal_tables_bound_a_difference_by_their_number() -> None:
    # 0.05 ** (1/8) = 0.687656; of all tables at most 0.312344 are other than these.
    assert zero_variance_interval(0.0, 8) == pytest.approx((-0.312344, 0.312344), abs=1e-6)
    assert zero_variance_interval(1.0, 8) == pytest.approx((1 - 2 * 0.312344, 1.0), abs=1e-6)
    # Rule of three.
    assert zero_variance_interval(0.0, 1000)[1] == pytest.approx(0.003, abs=1e-5)


def test_bootstrap_t_is_close_to_students_on_normal_data() -> None:
    from scipy import stats

    values = np.random.default_rng(3).normal(0.2, 1.0, 200)
    low, high = stats.t.interval(0.95, 199, values.mean(), values.std(ddof=1) / math.sqrt(200))
    found = studentized(TableSums(values, np.ones(200)))
    assert found == pytest.approx((low, high), abs=0.02)


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
    alone = wilson(int(correct.sum()), 200)
    assert clustered is not None
    assert alone is not None
    assert clustered[1] - clustered[0] > 2 * (alone[1] - alone[0])


def test_a_rate_of_one_or_zero_claims_no_certainty() -> None:
    tables = [f"t{i // 5}" for i in range(50)]
    assert clustered_rate([True] * 50, tables) == wilson(10, 10)
    assert clustered_rate([False] * 50, tables) == wilson(0, 10)
    assert clustered_rate([True], ["t"]) is None


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
    found = minimum_detectable(TableSums(differences, np.ones(n)), 1, discordant)
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
    assert fewest_flips(3) == 7
    assert fewest_differing(3) == pytest.approx(9.075, abs=1e-3)
    assert stats.poisson.sf(6, fewest_differing(3)) == pytest.approx(0.8)


def test_minimum_detectable_grows_with_the_family_and_with_clustering() -> None:
    alone = TableSums(np.array([1.0, -1.0] * 100), np.ones(200))
    together = TableSums(np.array([5.0, -5.0] * 20), np.full(40, 5.0))
    one, three = minimum_detectable(alone, 1, 200), minimum_detectable(alone, 3, 200)
    clustered = minimum_detectable(together, 1, 200)
    assert one is not None
    assert three is not None
    assert clustered is not None
    assert one < three
    assert clustered > 2 * one
    assert minimum_detectable(TableSums(np.zeros(9), np.ones(9)), 3, 0) is None


def test_fewest_flips_is_the_first_count_that_can_pass() -> None:
    for family in (1, 3):
        k = fewest_flips(family)
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


def test_the_whole_of_wikisql_takes_seconds() -> None:
    rng = np.random.default_rng(1)
    tables = rng.integers(0, 5230, 15_878).tolist()
    sums = table_sums(rng.normal(0, 1, 15_878), tables)
    # Each draws 10,000 times over 5,230 tables: the yardstick draws as many numbers, once.
    start = time.process_time()
    np.random.default_rng(0).standard_normal((10_000, 5_230)).sum()
    yardstick = time.process_time() - start
    start = time.process_time()
    sign_flip(sums.numerators)
    studentized(sums)
    cluster_bootstrap(sums)
    took = time.process_time() - start
    print(f"{took / yardstick:.2f} times the yardstick's {yardstick:.2f} s")
    assert took < 6 * yardstick  # three of them, each at most twice its draws
