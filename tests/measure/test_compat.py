"""`mlx_lm_compat` equals what mlx-lm's own evaluate computes, quirks included."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure_models import Loaded, Row, llama, rows

from harness.backend import mx, nn
from harness.measure import token_nll
from harness.measure.loss import CompatSettings, evaluate, mlx_lm_compat
from tests.rounding import SAME_LOSS, UNIT, mean_of, same_ppl, token_nats

TOLERANCE = SAME_LOSS


@pytest.fixture(scope="module")
def small() -> Any:
    return llama(seed=1, vocab_size=258)


def theirs(model: Any, examples: list[Row], settings: CompatSettings) -> float:
    """mlx-lm's `lora.py: run` with `--test`, from its seed on."""
    from mlx_lm.tuner.datasets import CacheDataset
    from mlx_lm.tuner.trainer import evaluate as mlx_lm_evaluate

    class Texts:
        def __len__(self) -> int:
            return len(examples)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"text": index}

        def process(self, datum: dict[str, Any]) -> tuple[list[int], int]:
            return list(examples[datum["text"]].tokens), 0

    np.random.seed(settings.seed)
    return float(
        mlx_lm_evaluate(
            model=model,
            dataset=CacheDataset(Texts()),
            batch_size=settings.batch_size,
            num_batches=settings.test_batches,
            max_seq_length=settings.max_seq_length,
        )
    )


def ours(model: Any, examples: list[Row], settings: CompatSettings) -> float:
    limit = settings.max_seq_length
    cut = [
        Row(row.id, row.table_id, row.tokens[:limit], min(row.prompt_length, limit))
        for row in examples
    ]
    value = mlx_lm_compat(evaluate(model, cut), settings)
    assert value is not None
    return value.loss


@pytest.mark.parametrize(
    "settings",
    [
        CompatSettings(),
        CompatSettings(batch_size=7, seed=3),
        CompatSettings(batch_size=4, seed=1, test_batches=3),
        CompatSettings(batch_size=5, test_batches=-1),
        CompatSettings(batch_size=1, test_batches=10),
        CompatSettings(batch_size=4, max_seq_length=40),
        CompatSettings(batch_size=4, max_seq_length=33),
        CompatSettings(batch_size=3, max_seq_length=32, test_batches=4, seed=9),
    ],
    ids=str,
)
def test_compat_equals_mlx_lm(small: Any, settings: CompatSettings) -> None:
    examples = rows(30, seed=5)
    assert ours(small, examples, settings) == pytest.approx(
        theirs(small, examples, settings), rel=TOLERANCE
    )


def test_compat_equals_mlx_lm_on_tiny(tiny: Loaded) -> None:
    examples = rows(9)
    settings = CompatSettings()
    assert ours(tiny.model, examples, settings) == pytest.approx(
        theirs(tiny.model, examples, settings), rel=TOLERANCE
    )


def test_compat_equals_mlx_lm_on_rows_that_fill_the_padding_exactly(small: Any) -> None:
    examples = [row for low in (31, 32, 33, 64) for row in rows(4, low=low, high=low)]
    for limit in (32, 33, 64, 65, 2048):
        settings = CompatSettings(batch_size=3, max_seq_length=limit)
        assert ours(small, examples, settings) == pytest.approx(
            theirs(small, examples, settings), rel=TOLERANCE
        ), limit


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_compat_in_low_precision_is_as_close_as_that_precision(dtype: str) -> None:
    model = llama(seed=2, vocab_size=258)
    model.set_dtype(getattr(mx, dtype))
    examples = rows(12, seed=2, high=30)
    settings = CompatSettings(batch_size=4)
    # Every token's loss is rounded to that precision by itself, the mean is not.
    targets = sum(len(row.tokens) - 1 for row in examples)
    assert ours(model, examples, settings) == pytest.approx(
        theirs(model, examples, settings), rel=mean_of(targets, UNIT[dtype])
    )


@pytest.mark.parametrize("backend", ["cpu", "metal"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_token_in_low_precision_is_mlx_s_to_the_bit(
    dtype: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mlx's own loss is called for it, which rounds by backend and type; `nll` never does so."""
    monkeypatch.setattr(token_nll, "backend_name", lambda: backend)
    logits = 8 * mx.random.normal((40, 5_000), key=mx.random.key(0))
    targets = np.arange(40, dtype=np.int32)
    half = logits.astype(getattr(mx, dtype))
    found = token_nll.cross_entropy(half, targets)
    expected = nn.losses.cross_entropy(half, mx.array(targets))
    assert np.array_equal(found.mlx_lm_nll, np.array(expected.astype(mx.float32)))
    scores = np.array(half.astype(mx.float32), np.float64)
    high = scores.max(axis=1)
    exact = np.log(np.exp(scores - high[:, None]).sum(axis=1)) + high - scores[range(40), targets]
    assert found.nll == pytest.approx(exact, rel=SAME_LOSS)


@pytest.mark.slow
def test_compat_has_mlx_lms_drift_over_a_large_vocabulary() -> None:
    model = llama(seed=4, vocab_size=65_000)
    model.model.norm.weight = model.model.norm.weight * 4.0
    examples = rows(12, seed=2, high=30)
    settings = CompatSettings(batch_size=4)
    found, expected = ours(model, examples, settings), theirs(model, examples, settings)
    targets = [token_nats(model, [row.tokens]) for row in examples]
    # What mlx-lm's float32 sum over 65,000 tokens is off by, measured here on the same logits (the
    # mean over tokens; the pad that mlx-lm scores as well drifts as they do).
    drift = np.mean([
        abs(float(nn.losses.cross_entropy(model(mx.array([row.tokens[:-1]])),
                                          mx.array([row.tokens[1:]])).mean()) - nats.mean())
        for row, nats in zip(examples, targets, strict=True)
    ])  # fmt: skip
    assert drift > 0
    assert abs(found - expected) <= drift / 4


def test_compat_is_none_where_mlx_lm_refuses(tiny: Loaded) -> None:
    examples = rows(3)
    with pytest.raises(ValueError, match="at least batch_size"):
        theirs(tiny.model, examples, CompatSettings())
    assert mlx_lm_compat(evaluate(tiny.model, examples), CompatSettings()) is None


def test_compat_refuses_rows_it_cannot_have_scored(tiny: Loaded) -> None:
    losses = evaluate(tiny.model, rows(4, low=20, high=20))
    with pytest.raises(ValueError, match="max_seq_length=19"):
        mlx_lm_compat(losses, CompatSettings(max_seq_length=19))


def test_compat_counts_the_pad_token_that_full_text_leaves_out(tiny: Loaded) -> None:
    losses = evaluate(tiny.model, rows(8))
    value = mlx_lm_compat(losses, CompatSettings())
    assert value is not None
    assert value.tokens == sum(loss.full_tokens for loss in losses) + 8


@pytest.mark.slow
def test_compat_equals_the_command(tiny: Loaded, tiny_folder: Path, tmp_path: Path) -> None:
    texts = ["".join(map(chr, row.tokens[:-1])) for row in rows(30, seed=8)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.jsonl").write_text(lines)
    command = [sys.executable, "-m", "mlx_lm", "lora", "--model", str(tiny_folder), "--test"]
    command += ["--data", str(tmp_path), "--adapter-path", "", "--batch-size", "4", "--seed", "3"]
    done = subprocess.run(
        [*command, "--test-batches", "5", "--max-seq-length", "50"],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = re.search(r"Test loss ([0-9.]+), Test ppl ([0-9.]+[0-9])", done.stdout)
    assert printed, done.stdout + done.stderr
    examples = [
        Row(number, "t", (*tiny.tokenizer.encode(text), 257)[:50], 1)
        for number, text in enumerate(texts)
    ]
    losses = evaluate(tiny.model, examples)
    value = mlx_lm_compat(losses, CompatSettings(4, seed=3, test_batches=5, max_seq_length=50))
    assert value is not None
    # Three decimals are printed: half a unit of the last, and what rounding makes of the rest.
    half = 0.5e-3
    loss, ppl = float(printed[1]), float(printed[2])
    assert abs(value.loss - loss) <= half + SAME_LOSS * loss
    assert abs(value.ppl - ppl) <= half + same_ppl(loss) * ppl
