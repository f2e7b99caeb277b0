"""Speed across variants: interleaved trials, so that the machine's drift affects all alike.

Input: the stages of every variant of a run -> output: :class:`Speeds` by variant, whether they
came from the cache, and the sections and rows made of them. Rounds go A B A B ...: in each, every
variant makes one single-stream trial and one batch. All models stay loaded where they fit in
memory together; else each round loads and warms up each model anew, and the record holds which. A
set of timings is cached by the adapters of *all* variants that were interleaved, since only those
may be compared. :class:`ReplayClock` hands the timings to pytest-benchmark.
"""

from __future__ import annotations

import datetime
import functools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.disk.files import content_key, write_json
from harness.disk.manifest import MANIFEST
from harness.machine.identity import machine_id
from harness.machine.memory_limits import memory_limits
from harness.measure.contention import Contention
from harness.pipeline.invocation import Invocation
from harness.pipeline.stages import RESULT_FILE, VariantStages
from harness.progress import ProgressCallback
from harness.protocols import BATCH_ROWS, QUESTION_TOKENS, SPEED_ROUNDS, SpeedTrials
from harness.runs.run_estimate import Step
from harness.schema import stage_results as calls
from harness.schema.rows import Rates, TrialRow
from harness.schema.stage_results import STAGE_VERSIONS, Call, Result, Speeds, TrialRequest
from harness.schema.variant_result import QuestionResult, Throughput

# Loaded together only where all of them, activations included, take this share of free memory.
_MEMORY_SHARE = 0.6


def measure(
    stages: Sequence[VariantStages], invocation: Invocation
) -> tuple[dict[str, Speeds], bool]:
    """Timings of every variant by name, and whether they are from the cache."""
    cache = invocation.cache
    key = _key(stages, [stage.adapter.path for stage in stages], invocation)
    cached = not invocation.options.remeasure and cache.find("speed", key) is not None
    take = functools.cache(lambda: _take(stages, invocation.speed_trials, invocation.progress))
    if not cached:
        began = time.monotonic()
        take()
        for step in _steps(stages):
            invocation.estimate.finished(step, (time.monotonic() - began) / len(stages))
        cache.discard("speed", key)  # only now that there is something better

    def make(folder: Path) -> None:
        by_name = zip((stage.variant.name for stage in stages), take(), strict=True)
        payload = {name: one.model_dump(mode="json") for name, one in by_name}
        write_json(folder / RESULT_FILE, payload)

    stored = json.loads(cache.read("speed", key, make, RESULT_FILE))
    # Stored by position: another run may have given the same variants other names.
    found = list(stored.values())
    named = {s.variant.name: Speeds.model_validate(v) for s, v in zip(stages, found, strict=True)}
    return named, cached


def to_come(stages: Sequence[VariantStages], invocation: Invocation) -> list[Step]:
    """The trials, unless they are in the cache."""
    found = [stage.known_adapter() for stage in stages]
    if all(known for known, _ in found) and not invocation.options.remeasure:
        key = _key(stages, [adapter for _, adapter in found], invocation)
        if (invocation.cache.path("speed", key) / MANIFEST).is_file():
            return []
    return _steps(stages)


def _steps(stages: Sequence[VariantStages]) -> list[Step]:
    return [stage.step("speed", 1) for stage in stages]


def _key(
    stages: Sequence[VariantStages], adapters: Sequence[Path | None], invocation: Invocation
) -> str:
    parts = [stage.tuned_key(one) for stage, one in zip(stages, adapters, strict=True)]
    limits = memory_limits().items()
    setting = (machine_id(), invocation.style.sha256, invocation.dataset.sha256, *limits)
    return content_key(STAGE_VERSIONS["speed"], invocation.speed_trials.protocol, *setting, parts)


@dataclass
class _Rounds:
    """The calls of interleaved rounds, one after another over all variants."""

    stages: Sequence[VariantStages]
    trials: SpeedTrials
    together: bool
    """Whether every model stays loaded; else a variant's call first ends the other processes."""
    progress: ProgressCallback
    done: int = 0

    def call(self, call: Call[TrialRequest, Result], batch: int = 1) -> list[Result]:
        """One call of every variant; their results by position."""
        return [self._call(stage, call, batch) for stage in self.stages]

    def _call(self, stage: VariantStages, call: Call[TrialRequest, Result], batch: int) -> Result:
        if not self.together:
            for other in self.stages:
                if other is not stage:
                    other.close()
        timed = call.name == calls.SPEED_ROUND.name
        asked = call.name == calls.QUESTION_TRIALS.name
        request = TrialRequest(
            adapter=stage.adapter.path,
            prompt_tokens=self.trials.prompt_tokens,
            new_tokens=QUESTION_TOKENS if asked else self.trials.new_tokens,
            batch=batch,
            least_s=self.trials.least_s,
            # A reloaded model needs a warm-up of its own each time.
            warm_up=not self.together and timed,
        )
        if timed:
            time.sleep(self.trials.pause_s)
        result = stage.call(call, request)
        self.done += 1
        steps = (SPEED_ROUNDS + 1 + self.together) * len(self.stages)
        self.progress("speed, variants interleaved", self.done, steps)
        return result


def _take(
    stages: Sequence[VariantStages], trials: SpeedTrials, progress: ProgressCallback
) -> list[Speeds]:
    together = _fit_together(stages)
    rounds = _Rounds(stages, trials, together, progress)
    with Contention() as contention:
        if together:
            rounds.call(calls.WARM_UP, BATCH_ROWS)
        taken = [rounds.call(calls.SPEED_ROUND, BATCH_ROWS) for _ in range(SPEED_ROUNDS)]
        questions = rounds.call(calls.QUESTION_TRIALS)
    for stage in stages:
        stage.close()
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"

    def speeds(
        stage: VariantStages, own: Sequence[calls.SpeedRound], last: calls.QuestionTrials
    ) -> Speeds:
        return Speeds(
            trials=[one.trial for one in own],
            batched_tokens_per_s=[one.batched_tokens_per_s for one in own],
            questions=last.trials,
            interleaving="all loaded" if together else "reloaded each round",
            measured_at=f"{now} on {stage.description.device.chip}",
            contended=contention.contended,
            power=contention.power,
        )

    by_variant = list(zip(*taken, strict=True))
    return [speeds(*one) for one in zip(stages, by_variant, questions, strict=True)]


def _fit_together(stages: Sequence[VariantStages]) -> bool:
    """Whether all models may be loaded at once: what each took against what is free, and what the
    processes that run now hold of it already."""
    loads = [stage.description.load for stage in stages]
    memories = [stage.call(calls.DEVICE_MEMORY, calls.Nothing()) for stage in stages]
    free = min(
        memories[0].total_bytes,
        memories[0].free_bytes + sum(memory.held_bytes for memory in memories),
    )
    # A GPU holds what MLX allocates; on a CPU the process's own libraries count too.
    on_cpu = memories[0].backend == "cpu"
    needed = sum(load.rss_peak_bytes if on_cpu else load.mlx_peak_bytes for load in loads)
    return needed < _MEMORY_SHARE * free


def throughput(speeds: Speeds, cached: bool) -> Throughput:
    """Medians over the interleaved trials; percentiles over every gap between tokens."""
    gaps = [gap for trial in speeds.trials for gap in trial.inter_token_s]
    p50, p95 = np.quantile(gaps, [0.5, 0.95])

    def median(values: Sequence[float]) -> float:
        return float(np.median(values))

    return Throughput(
        prompt_tokens_per_s=median([trial.prompt_tokens_per_s for trial in speeds.trials]),
        generation_tokens_per_s=median([trial.generation_tokens_per_s for trial in speeds.trials]),
        ttft_s=median([trial.ttft_s for trial in speeds.trials]),
        inter_token_p50_s=float(p50),
        inter_token_p95_s=float(p95),
        batched_tokens_per_s=median(speeds.batched_tokens_per_s),
        trials=len(speeds.trials),
        measured_at=speeds.measured_at,
        cached=cached,
        interleaving=speeds.interleaving,
        power=speeds.power,
    )


def trial_rows(speeds: Speeds) -> list[TrialRow]:
    """The stored row of each trial; its block is the round, shared by all variants."""
    rounds = zip(speeds.trials, speeds.batched_tokens_per_s, strict=True)
    return [
        TrialRow(block=block, batched_tokens_per_s=batched, **trial.model_dump(exclude={"wall_s"}))
        for block, (trial, batched) in enumerate(rounds)
    ]


def with_speeds(results: Sequence[QuestionResult], trials: Sequence[Rates]) -> list[QuestionResult]:
    """``results`` with the speeds of their timed trials."""
    return [
        result.model_copy(
            update=trial.model_dump(include={"prompt_tokens_per_s", "generation_tokens_per_s"})
        )
        for result, trial in zip(results, trials, strict=True)
    ]


class ReplayClock:
    """Time in seconds that only recorded durations move.

    pytest-benchmark finishes one test before the next, so it cannot interleave trials. They are
    timed where they happen, and a test hands them over as its rounds: the benchmarked function
    moves this clock by the next recorded duration. pytest-benchmark's tables, `--benchmark-json`
    and `--benchmark-compare` then hold the real timings.
    """

    def __init__(self) -> None:
        self._now_s = 0.0

    def now(self) -> float:
        """The clock's time; the `timer` of a benchmark."""
        return self._now_s

    def of(self, durations_s: Iterable[float]) -> Callable[[], None]:
        """A function whose calls take, by this clock, the given durations one after another."""
        waiting = iter(durations_s)

        def step() -> None:
            self._now_s += next(waiting)

        return step


replay = ReplayClock()
"""The clock of this session."""
