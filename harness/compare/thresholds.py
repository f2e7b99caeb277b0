"""Gate rules (`gates.toml`) and the value that each gated metric has in a stored variant.

Input: a TOML file -> output: :class:`GateRule` by metric, in file order. What a rule decides is
in ``gates``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from harness.bundled import FIXTURES
from harness.errors import UserError, unknown
from harness.schema.results import Direction
from harness.schema.variant_result import Record, VariantResult

GATES_FILE = FIXTURES / "gates.toml"

Kind = Literal["paired", "timing", "memory", "size"]


class GateRule(Record):
    """One metric's gate."""

    direction: Direction = Field(description="Which way is better.")
    absolute: float = Field(default=0.0, ge=0, description="Tolerated worsening, metric's unit.")
    relative: float = Field(default=0.0, ge=0, description="Tolerated share of the baseline.")
    significance: float | None = Field(
        default=None, gt=0, lt=1, description="Level of the test; null for exact numbers."
    )
    reason: str = Field(min_length=1, description="Why the margin is what it is.")

    def margin(self, baseline: float) -> float:
        """The worsening that is tolerated against ``baseline``: the larger of the two."""
        return max(self.absolute, self.relative * abs(baseline))

    def threshold(self, baseline: float) -> float:
        """The worst value that is still within the margin."""
        margin = self.margin(baseline)
        return baseline - margin if self.direction == "higher" else baseline + margin


class GatedMetric(Record):
    """What is known about a metric that can be gated."""

    kind: Kind = Field(description="How it is compared, and where it cannot be.")
    direction: Direction = Field(description="The only direction that makes sense.")


_PAIRED: dict[str, Direction] = {
    "completion_loss": "lower",
    "full_text_loss": "lower",
    "ex": "higher",
    "ex_hardened": "higher",
    "ex_official": "higher",
    "ex_strict": "higher",
    "lf": "higher",
    "valid": "higher",
}

METRICS: dict[str, GatedMetric] = {
    **{name: GatedMetric(kind="paired", direction=way) for name, way in _PAIRED.items()},
    "generation_tokens_per_s": GatedMetric(kind="timing", direction="higher"),
    "prompt_tokens_per_s": GatedMetric(kind="timing", direction="higher"),
    "ttft_s": GatedMetric(kind="timing", direction="lower"),
    "load_memory_bytes": GatedMetric(kind="memory", direction="lower"),
    "train_memory_bytes": GatedMetric(kind="memory", direction="lower"),
    "test_memory_bytes": GatedMetric(kind="memory", direction="lower"),
    "generate_memory_bytes": GatedMetric(kind="memory", direction="lower"),
    "adapter_bytes": GatedMetric(kind="size", direction="lower"),
    "fused_bytes": GatedMetric(kind="size", direction="lower"),
}
"""Every metric that gates.toml may name."""


def load_gates(file: Path | None = None) -> dict[str, GateRule]:
    """Rules by metric from ``file``, the shipped ones by default.

    Raises:
        UserError: no such file, not TOML, an unknown metric or key, or a direction that would
            reward a worse model.
    """
    file = file or GATES_FILE
    try:
        with file.open("rb") as stream:
            raw = tomllib.load(stream)
    except FileNotFoundError as error:
        raise UserError(
            f"no gates file {file}. Leave --gates out for the shipped one ({GATES_FILE.name} in "
            "fixtures/), or copy that and edit it."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            f"{file} is not readable TOML: {error}. Compare fixtures/gates.toml."
        ) from error
    if not raw:
        raise UserError(f"{file} names no metric: a gate without rules would pass everything.")
    return {metric: _rule(file, metric, value) for metric, value in raw.items()}


def metric_value(result: VariantResult, metric: str) -> float | None:
    """The stored value of a metric; None when it was not measured."""
    loss, execution = result.loss, result.execution
    if metric in ("completion_loss", "full_text_loss"):
        scored = loss and (loss.completion if metric == "completion_loss" else loss.full_text)
        return scored.loss if scored else None
    if metric in _PAIRED:
        return None if execution is None else getattr(execution, metric)
    if metric.endswith("_memory_bytes"):
        phase = result.memory and result.memory.phase(metric.removesuffix("_memory_bytes"))
        return float(phase.mlx_peak_bytes) if phase else None
    section = result.size if METRICS[metric].kind == "size" else result.throughput
    value: float | None = getattr(section, metric, None)
    return value


def _rule(file: Path, metric: str, value: object) -> GateRule:
    if metric not in METRICS:
        raise unknown(f"metric in {file}", metric, METRICS)
    try:
        rule = GateRule.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, (metric, *fault["loc"])))
        raise UserError(
            f"{file}: {place}: {fault['msg']}. Keys: {', '.join(GateRule.model_fields)}."
        ) from error
    kind, right = METRICS[metric].kind, METRICS[metric].direction
    if rule.significance is not None and kind in ("memory", "size"):
        raise UserError(
            f"{file}: {metric}.significance is {rule.significance}, but a number without noise "
            "(memory, size) has no test: leave significance out, the margin alone decides."
        )
    if rule.direction != right:
        raise UserError(
            f"{file}: {metric}.direction is {rule.direction!r}, but {right} is better; a gate the "
            "wrong way round would fail good checkpoints."
        )
    return rule
