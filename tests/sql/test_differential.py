"""Each text is executed itself in DuckDB and SQLite on the same table; verdicts are compared.

`pytest tests/sql/test_differential.py -m slow -s` takes 20,000 and prints the classes with counts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from harness.data.records import Condition, LogicalForm
from tests.sql.differential import Outcome, compare
from tests.sql.model_sql import Sample, samples
from tests.sql.parting_rules import RULES, Rule, classes

PROTOCOLS = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
CY, OREBRO = Condition(0, 0, "Cy"), Condition(2, 0, "Örebro")


GOLDS = [LogicalForm(sel, 0, conds) for sel in (0, 2) for conds in ((), (CY,), (OREBRO,))]


@pytest.fixture(scope="module")
def parted() -> dict[str, list[Outcome]]:
    """The outcomes of each rule's example under every one of ``GOLDS``."""
    outcomes = iter(compare([Sample(r.example, r.example, gold) for r in RULES for gold in GOLDS]))
    return {rule.name: list(itertools.islice(outcomes, len(GOLDS))) for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_one_by_its_own_example(rule: Rule, parted: dict[str, list[Outcome]]) -> None:
    outcomes = parted[rule.name]
    assert [rule.name] in [classes(one) for one in outcomes], outcomes


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_stands_in_the_protocols(rule: Rule) -> None:
    fence = "``" if "`" in rule.example else "`"
    assert f"| {rule.name} | {fence}{rule.example}{fence} |" in PROTOCOLS.read_text(
        encoding="utf-8"
    )


def part(seed: int, count: int) -> Counter[str]:
    """The classes of the samples that part, each sample's parting explained."""
    found: Counter[str] = Counter()
    for one in compare(samples(seed, count)):
        agreed = one.duckdb == one.sqlite and one.duckdb != "error"
        assert not (agreed and one.here in ("right", "wrong") and one.here != one.duckdb), one
        names = classes(one)
        assert names is not None, one
        found.update(names or ["all agree"])
    return found


def test_every_parting_from_two_databases_has_a_rule() -> None:
    found = part(15, 400)
    assert found["all agree"] > 200


@pytest.mark.slow
def test_every_parting_of_20_000_statements_has_a_rule() -> None:
    found: Counter[str] = Counter()
    for seed in range(10):
        found += part(seed, 2_000)
    for name, count in found.most_common():
        print(f"{count:6} {name}")
