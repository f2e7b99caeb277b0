"""Is the checkpoint no worse than the baseline? (--baseline)"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.schema.results import GateResult


def test_no_regression(
    gate: list[GateResult],
    gate_examples: Callable[[GateResult], str],
    strict_gates: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """Fail on a regression or a missing metric; what is not decided is no pass (--strict fails)."""
    assert gate, "nothing was measured to compare with the baseline: select the other suites too"
    for verdict in gate:
        record_property(f"gate.{verdict.metric}", verdict.verdict)
        for name in ("baseline", "value", "threshold"):
            record_property(name, getattr(verdict, name))
        message = f"{verdict.variant}: {verdict.metric} {verdict.verdict}: {verdict.reason}"
        if verdict.verdict == "fail" or (verdict.verdict == "inconclusive" and strict_gates):
            pytest.fail(f"{message}\n{gate_examples(verdict)}".rstrip(), pytrace=False)
        if verdict.verdict in ("inconclusive", "skipped"):
            pytest.skip(message)
