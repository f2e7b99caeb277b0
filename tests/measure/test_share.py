"""Shared out over ranks, an evaluation's batches are those of one process, each computed once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from measure_models import Loaded, rows

from harness.measure import decode
from harness.measure.generate import GenerationProtocol, generate
from harness.measure.loss import evaluate
from harness.sharding import SINGLE_RANK, Shard


class Told(Shard):
    """A rank whose others are simulated: ``ours`` is what it would send them."""

    def __init__(self, rank: int, size: int, all_of_it: list[Any]) -> None:
        super().__init__(rank, size)
        object.__setattr__(self, "everything", all_of_it)

    def gather(self, value: Any) -> list[Any]:
        ours = json.loads(json.dumps(value))  # as it would arrive
        object.__setattr__(self, "ours", ours)
        return [ours, self.everything]


def parts(run: Any, size: int) -> tuple[list[Any], list[list[Any]]]:
    """What one process computes, and what each of ``size`` ranks does."""
    alone = Told(0, 1, [])
    run(alone)
    ranks = [Told(rank, size, alone.ours) for rank in range(size)]
    for share in ranks:
        run(share)
    return alone.ours, [share.ours for share in ranks]


@pytest.mark.parametrize("size", [2, 3])
def test_every_loss_is_computed_by_one_rank_to_the_bit(tiny: Loaded, size: int) -> None:
    examples = rows(21)
    alone, shared = parts(
        lambda share: evaluate(tiny.model, examples, batch_size=4, share=share), size
    )
    assert all(shared)
    assert sorted(alone, key=lambda row: row[0]) == sorted(
        (row for part in shared for row in part), key=lambda row: row[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("windows_a_rank", [1, 4])
def test_every_answer_is_given_by_one_rank_in_the_same_company(
    tiny: Loaded, windows_a_rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_WINDOWS_A_RANK", windows_a_rank)
    prompts = [list(row.tokens[: row.prompt_length]) for row in rows(150)]
    protocol = GenerationProtocol(max_new_tokens=4)
    alone, shared = parts(lambda share: generate(tiny, prompts, protocol, share=share), 2)
    assert all(shared)
    assert sorted(alone) == sorted(row for part in shared for row in part)


def test_alone_there_is_nobody_to_ask() -> None:
    assert SINGLE_RANK.gather({"x": 0.1}) == [{"x": 0.1}]
    assert [SINGLE_RANK.takes(unit) for unit in range(3)] == [True] * 3
