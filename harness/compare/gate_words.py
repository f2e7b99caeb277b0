"""What a gate says: values, worsenings and margins in units that a person reads.

Input: a metric's numbers in the store's units -> output: text. Which verdict they lead to is in
``gates``.
"""

from __future__ import annotations

from harness.compare.pairing import RATE_METRICS
from harness.markdown import NONE

LOSS_UNIT = "nats a token"


def shown_value(metric: str, value: float | None) -> str:
    """A metric's value: percent, nats a token, tokens/s, seconds or MB."""
    if value is None:
        return NONE
    if metric.endswith("_loss"):
        return f"{value:.4f}"
    return f"{100 * value:.1f}%" if metric in RATE_METRICS else _amount(metric, value)


def shown_change(metric: str, worse_by: float) -> str:
    """`worse by 3.1 points`, `better by 0.0200 nats a token` or `equal`."""
    if worse_by == 0.0:
        return "equal"
    return f"{'worse' if worse_by > 0 else 'better'} by {shown_amount(metric, abs(worse_by))}"


def shown_amount(metric: str, amount: float) -> str:
    """A difference without its sign, in points for rates."""
    return f"{100 * amount:.1f} points" if metric in RATE_METRICS else _amount(metric, amount)


def shown_evidence(
    metric: str, values: tuple[float, float], worsenings: tuple[float, float], margin: float
) -> str:
    """Baseline and value, the worsening seen and the worst that the interval allows, the margin."""
    before, after = (shown_value(metric, value) for value in values)
    seen, worst = (shown_change(metric, amount) for amount in worsenings)
    told = seen if worst == seen else f"{seen}, at worst {worst}"
    return f"{before} before, {after} now: {told}; {shown_amount(metric, margin)} tolerated"


def _amount(metric: str, amount: float) -> str:
    if metric.endswith("_loss"):
        return f"{amount:.4f} {LOSS_UNIT}"
    if metric.endswith("_tokens_per_s"):
        return f"{amount:.2f} tokens/s"
    if metric.endswith("_bytes"):
        return f"{amount / 1e6:,.1f} MB"
    return f"{amount:.4f} s"
