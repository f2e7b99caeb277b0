"""Speed across variants: trials taken in turns, so that the machine's drift hits all alike.

Input: the stages of every variant of a run -> output: :class:`Speeds` by variant, and whether they
came from the cache. Rounds go A B A B ...: in each, every variant makes one single-stream trial
and one batch. All models stay loaded where they fit in memory together; else each round loads and
warms up each model anew (`reload`), and the record says so. A set of timings is cached by the
adapters of *all* variants that took turns, since only those may be compared.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from harness.disk.files import content_key, write_json
from harness.measure.contention import Contention
from harness.pipeline.cache_keys import STAGE_VERSIONS
from harness.pipeline.stages import PAYLOAD_FILE, VariantStages
from harness.progress import ProgressCallback
from harness.protocols import BATCH_ROWS, SPEED_NEW_TOKENS, SPEED_ROUNDS, speed_protocol
from harness.schema.stage_results import Speeds, Trial

# Loaded together only where all of them, with room for activations, take this share of memory.
_MEMORY_SHARE = 0.6


def measure(
    stages: Sequence[VariantStages], remeasure: bool, progress: ProgressCallback
) -> tuple[dict[str, Speeds], bool]:
    """Timings of every variant by name, and whether they are from the cache."""
    cache = stages[0].setting.cache
    parts = [stage.tuned_key() for stage in stages]
    style = stages[0].setting.style.sha256
    data = stages[0].setting.dataset.sha256
    key = content_key(
        STAGE_VERSIONS["speed"], speed_protocol(), platform.node(), style, data, parts
    )
    cached = not remeasure and cache.find("speed", key) is not None
    taken = None if cached else _take(stages, progress)
    if taken is not None:
        cache.discard("speed", key)  # only now that there is something better

    def make(folder: Path) -> None:
        speeds = taken if taken is not None else _take(stages, progress)
        write_json(
            folder / PAYLOAD_FILE,
            {stage.variant.name: speeds[i] for i, stage in enumerate(stages)},
        )

    stored = json.loads(cache.read("speed", key, make, PAYLOAD_FILE))
    # Stored by position: another run may have given the same variants other names.
    found = list(stored.values())
    named = {s.variant.name: Speeds.model_validate(v) for s, v in zip(stages, found, strict=True)}
    return named, cached


def _take(stages: Sequence[VariantStages], progress: ProgressCallback) -> list[dict[str, Any]]:
    together = _fit_together(stages)
    rounds: list[list[dict[str, Any]]] = [[] for _ in stages]
    questions: list[list[Trial]] = [[] for _ in stages]
    steps = (SPEED_ROUNDS + 1 + together) * len(stages)
    done = 0

    def turn(position: int, method: str, **parameters: Any) -> dict[str, Any]:
        nonlocal done
        stage = stages[position]
        if not together:
            for other in stages:
                if other is not stage:
                    other.close()
        adapter = stage.adapter.path
        answer = stage.call(method, adapter=None if adapter is None else str(adapter), **parameters)
        done += 1
        progress("speed, variants in turns", done, steps)
        return answer

    with Contention() as contention:
        work = {"new_tokens": SPEED_NEW_TOKENS, "batch": BATCH_ROWS}
        for position in range(len(stages) if together else 0):
            turn(position, "warm_up", **work)
        for _ in range(SPEED_ROUNDS):
            for position in range(len(stages)):
                # A reloaded model needs a warm-up of its own each time.
                taken = turn(position, "speed_round", **work, warm_up=not together)
                rounds[position].append(taken)
        for position in range(len(stages)):
            found = turn(position, "question_trials", new_tokens=SPEED_NEW_TOKENS)
            questions[position] = found["trials"]
    for stage in stages:
        stage.close()
    return [
        Speeds(
            trials=[Trial.model_validate(taken["trial"]) for taken in rounds[position]],
            batched_tokens_per_s=[taken["batched_tokens_per_s"] for taken in rounds[position]],
            questions=[Trial.model_validate(trial) for trial in questions[position]],
            interleaving="all loaded" if together else "reloaded each round",
            measured_at=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ} on "
            f"{stage.description.device.chip} ({platform.node()})",
            contended=contention.contended,
        ).model_dump(mode="json")
        for position, stage in enumerate(stages)
    ]


def _fit_together(stages: Sequence[VariantStages]) -> bool:
    needed = sum(
        max(load.rss_peak_bytes, load.mlx_peak_bytes)
        for load in (stage.description.load for stage in stages)
    )
    return needed < _MEMORY_SHARE * psutil.virtual_memory().available
