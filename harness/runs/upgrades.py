"""`results.json` of older schema versions, brought to the current one.

The JSON of a file -> the same with the fields that its version did not have, filled with what the
rest of the file implies. Each step adds one version, so a file of any age goes through all that
follow. Not covered: versions newer than this tunebench, which ``store`` refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Raw = dict[str, Any]


def _from_0(raw: Raw) -> Raw:
    """Version 0 did not hold how fine-tuning was timed, how many examples a loss is over, or why a
    form was not fused."""
    run = raw["run"]
    measured_at = f"{run['finished']} on {run['device']['chip']}"
    variants = {}
    for name, variant in raw["variants"].items():
        filled = dict(variant)
        cached = (variant.get("adapter") or {}).get("source") == "cached"
        timing = {"contended": run["contended"], "measured_at": measured_at, "cached": cached}
        of = raw["dataset"]["splits"]["test"]
        sample = variant.get("execution") or {"n": of, "of": of}
        absent = {
            "finetune": timing,
            "loss": {"n": sample["n"], "of": sample["of"]},
            "fuse": {"skipped": None},
        }
        for section, fields in absent.items():
            if filled.get(section) is not None:
                filled[section] = fields | filled[section]
        variants[name] = filled
    return raw | {"variants": variants}


UPGRADES: dict[int, Callable[[Raw], Raw]] = {0: _from_0}
"""By version: the step to the next."""


def upgrade(raw: Raw, current: int) -> Raw:
    """``raw`` at version ``current``; as it is where its version is unknown.

    Raises:
        KeyError, TypeError, AttributeError: the file lacks what its version must have.
    """
    version = raw.get("schema_version")
    while isinstance(version, int) and version < current and version in UPGRADES:
        raw = UPGRADES[version](raw)
        version += 1
        raw["schema_version"] = version
    return raw
