"""Gate rules (`gates.toml`): how much worse each metric may be than its baseline.

Input: a TOML file -> output: :class:`GateRule` by metric, in file order. What a rule decides is
in ``gates``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from harness.bundled import FIXTURES
from harness.compare.metrics import METRICS
from harness.errors import UserError, unknown
from harness.schema.results import Direction
from harness.schema.variant_result import Record

GATES_FILE = FIXTURES / "gates.toml"


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
    return {key: _rule(file, key, value) for key, value in raw.items()}


def _rule(file: Path, key: str, value: object) -> GateRule:
    metric = METRICS.get(key)
    if metric is None:
        raise unknown(f"metric in {file}", key, METRICS)
    try:
        rule = GateRule.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, (key, *fault["loc"])))
        raise UserError(
            f"{file}: {place}: {fault['msg']}. Keys: {', '.join(GateRule.model_fields)}."
        ) from error
    if rule.significance is not None and metric.exact:
        raise UserError(
            f"{file}: {key}.significance is {rule.significance}, but a number without noise "
            "(memory, size) has no test: leave significance out, the margin alone decides."
        )
    if rule.direction != metric.better:
        raise UserError(
            f"{file}: {key}.direction is {rule.direction!r}, but {metric.better} is better; a gate "
            "the wrong way round would fail good checkpoints."
        )
    return rule
