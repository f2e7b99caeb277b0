"""How fast does the variant generate? Measured last, interleaved with the other variants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.pipeline.interleaved_speed import replay
from harness.pipeline.variant_run import VariantRun
from harness.schema.variant_result import Throughput


@pytest.mark.benchmark(group="single stream", timer=replay.now)
def test_single_stream(
    throughput: Throughput, variant: VariantRun, benchmark: BenchmarkFixture
) -> None:
    """One prompt at a time; pytest-benchmark tabulates the interleaved trials."""
    trials = variant.speeds.trials
    benchmark.extra_info.update(
        variant=variant.name,
        cached=throughput.cached,
        measured_at=throughput.measured_at,
        generation_tokens_per_s=throughput.generation_tokens_per_s,
    )
    benchmark.pedantic(replay.of([trial.wall_s for trial in trials]), rounds=len(trials))
    assert throughput.generation_tokens_per_s is not None
    assert throughput.generation_tokens_per_s > 0


def test_batched(throughput: Throughput, record_property: Callable[[str, object], None]) -> None:
    """Sixteen prompts at once."""
    record_property("generation_tokens_per_s", throughput.generation_tokens_per_s)
    record_property("batched_tokens_per_s", throughput.batched_tokens_per_s)
    assert throughput.batched_tokens_per_s is not None
    assert throughput.batched_tokens_per_s > 0
