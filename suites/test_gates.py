"""Is the checkpoint no worse than the baseline? (--baseline)"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest

from harness.schema.results import GateResult


def test_no_regression(
    gate: list[GateResult],
    strict_gates: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """Fail on a regression or a missing metric; warn where the result is inconclusive."""
    assert gate, "nothing was measured to compare with the baseline: select the other suites too"
    for verdict in gate:
        record_property(f"gate.{verdict.metric}", verdict.verdict)
        for name in ("baseline", "value", "threshold"):
            record_property(name, getattr(verdict, name))
        message = f"{verdict.variant}: {verdict.metric} {verdict.verdict}: {verdict.reason}"
        if verdict.verdict == "fail" or (verdict.verdict == "inconclusive" and strict_gates):
            pytest.fail(message, pytrace=False)
        if verdict.verdict == "inconclusive":
            warnings.warn(message, stacklevel=1)
    if all(verdict.verdict == "skipped" for verdict in gate):
        pytest.skip(f"{gate[0].metric}: {gate[0].reason}")
