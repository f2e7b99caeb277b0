"""Gate rules (`gates.toml`): how much worse each metric may be than its baseline.

Input: a TOML file -> output: :class:`GateRule` by metric, in file order. What a rule decides is
in ``gates``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from harness.bundled import FIXTURES
from harness.compare.metrics import METRICS, Metric
from harness.errors import UserError, unknown
from harness.runs.store import StoredRun
from harness.schema.results import GateRule

GATES_FILE = FIXTURES / "gates.toml"


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


def own_rules(baseline: StoredRun) -> Mapping[str, GateRule]:
    """The rules that a baseline records; the shipped ones for a run that recorded none."""
    return baseline.results.gate_rules or load_gates()


def moved(rule: GateRule, own: GateRule, whose: str, baseline: float, metric: Metric) -> str:
    """Where ``rule`` judges otherwise than ``own``: a sentence, empty where not.

    Args:
        rule: in force.
        own: what it is held against.
        whose: what to call that: "the baseline's own", "the shipped one".
        baseline: the baseline's value.
        metric: what is gated.
    """
    margin, before = rule.margin(baseline), own.margin(baseline)
    said = []
    if margin != before:
        how = "looser" if margin > before else "tighter"
        said.append(f"the margin is {how} than {whose}, {metric.show_amount(before)}")
    if rule.significance != own.significance:
        said.append(f"the level of the test is {rule.significance}, {whose} {own.significance}")
    sentence = " and ".join(said)
    return sentence[:1].upper() + sentence[1:]


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
