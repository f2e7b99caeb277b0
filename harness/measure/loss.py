"""Loss and perplexity: tokenized examples -> NLL sums per example -> loss by three definitions.

``full_text`` scores every target token of prompt, SQL and stop token, ``completion`` those of SQL
and stop token, ``mlx_lm_compat`` what ``mlx_lm.lora --test`` computes on the same texts
(DESIGN.md section 5). All three come from one forward pass and are kept per example, so that
variants can be compared pairwise. Intervals are in ``stats``.

Source of the third: mlx-lm 0.32.2, ``tuner/trainer.py`` (``default_loss``, ``iterate_batches``,
``evaluate``) and ``lora.py`` (``run``, ``evaluate_model``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from harness.backend import mx
from harness.data.tokens import TokenizedExample
from harness.disk.journal import Journal
from harness.errors import UserError
from harness.measure.batch_plan import length_batches
from harness.measure.token_nll import TargetNll, target_nll
from harness.models.lm_head import split_model
from harness.progress import ProgressCallback, silent
from harness.protocols import BATCH_ROWS
from harness.schema.rows import LossRow
from harness.schema.variant_result import LossValue
from harness.sharding import SINGLE_RANK, Shard

_MLX_LM_PAD = 0
"""mlx-lm pads with token 0 and, its mask being one too wide, scores it after each row's end."""


class ExampleLoss(LossRow):
    """The stored sums of one example, and the two parts of its ``mlx_lm_compat``, all in nats."""

    mlx_lm_nll: float = Field(
        allow_inf_nan=True, description="full_nll as mlx-lm's loss would compute it."
    )
    after_end_nll: float = Field(
        allow_inf_nan=True, description="NLL of the pad token after the example's end."
    )


@dataclass(frozen=True, slots=True)
class CompatSettings:
    """The settings of ``mlx_lm.lora --test`` that its loss depends on; mlx-lm's defaults."""

    batch_size: int = 4
    seed: int = 0
    test_batches: int = 500
    max_seq_length: int = 2048


def evaluate(
    model: Any,
    examples: Sequence[TokenizedExample],
    batch_size: int = BATCH_ROWS,
    progress: ProgressCallback = silent,
    kept: Journal | None = None,
    share: Shard = SINGLE_RANK,
) -> list[ExampleLoss]:
    """Score every example, none dropped; results in input order, the same at any batch size.

    Args:
        model: an mlx-lm model; put in evaluation mode and back.
        examples: tokenized texts; no examples give an empty list.
        batch_size: rows in one forward pass.
        progress: called with the number of examples done.
        kept: batches of an earlier, killed process, which are not scored again; new ones are
            added.
        share: of several ranks, which batches are this one's; all get every result.

    Raises:
        UserError: a loss is not finite.
    """
    was_training = bool(model.training)
    model.eval()
    split = split_model(model) if examples else None
    found = {row: ExampleLoss(**fields) for row, fields in kept.rows.items()} if kept else {}
    batches = length_batches([len(example.tokens) for example in examples], batch_size)
    try:
        for number, batch in enumerate(batches):
            if not share.takes(number) or all(position in found for position in batch):
                continue
            rows = [examples[position].tokens for position in batch]
            scored = target_nll(model, split, rows, _MLX_LM_PAD)
            for position, nll in zip(batch, scored, strict=True):
                found[position] = _example_loss(examples[position], nll)
            mx.clear_cache()
            if kept is not None:
                kept.add({position: found[position].model_dump() for position in batch})
            progress("loss", share.of_all(len(found), len(examples)), len(examples))
    finally:
        model.train(was_training)
    for ours in share.gather([[row, loss.model_dump()] for row, loss in found.items()]):
        found.update({row: ExampleLoss(**fields) for row, fields in ours})
    return [found[position] for position in range(len(examples))]


def full_text(losses: Sequence[ExampleLoss]) -> LossValue:
    """The ``full_text`` loss: mean over every target token of all examples."""
    return _mean([loss.full_nll for loss in losses], [loss.full_tokens for loss in losses])


def completion(losses: Sequence[ExampleLoss]) -> LossValue:
    """The ``completion`` loss: mean over the SQL and stop tokens of all examples.

    Raises:
        UserError: no answer is marked in any of them.
    """
    nll = [loss.completion_nll for loss in losses]
    return _mean(nll, [loss.completion_tokens for loss in losses])


def mlx_lm_compat(losses: Sequence[ExampleLoss], settings: CompatSettings) -> LossValue | None:
    """What ``mlx_lm.lora --test`` prints for these examples, put together from their parts.

    mlx-lm keeps file order (its sort by length compares the rows' number of JSON keys), drops the
    last partial batch, draws the order of batches from numpy's global generator and takes the
    first ``test_batches`` of them, -1 being all.

    Args:
        losses: all examples of the test file, in the file's order, tokenized with the same
            maximum length.
        settings: the settings of the command.

    Returns:
        None where mlx-lm refuses the file: fewer rows than a batch.

    Raises:
        ValueError: a row is longer than ``max_seq_length``.
    """
    size = settings.batch_size
    if len(losses) < size:
        return None
    order = np.random.RandomState(settings.seed).permutation(len(losses) // size)
    if settings.test_batches != -1:
        order = order[: settings.test_batches]
    nll, tokens = [], []
    for batch in order.tolist():
        for loss in losses[batch * size : (batch + 1) * size]:
            length = loss.full_tokens + 1
            if length > settings.max_seq_length:
                raise ValueError(
                    f"example {loss.id} has {length} tokens, more than "
                    f"max_seq_length={settings.max_seq_length}"
                )
            # A row as long as the limit leaves no slot for the pad token.
            padded = length < settings.max_seq_length
            nll.append(loss.mlx_lm_nll + (loss.after_end_nll if padded else 0.0))
            tokens.append(loss.full_tokens + padded)
    return _mean(nll, tokens)


def _example_loss(example: TokenizedExample, nll: TargetNll) -> ExampleLoss:
    # Target i of the row is token i + 1; the last one is the pad token after the end.
    full = nll.nll[:-1]
    start = max(example.prompt_length - 1, 0) if example.has_answer else full.size
    of_completion = full[start:]
    full_nll = float(full.sum())
    if not math.isfinite(full_nll):
        raise UserError(
            f"the loss of example {example.id} (table {example.table_id}) is {full_nll}: the "
            "model or its adapter holds values that are not finite. Train again with a lower "
            "learning rate (--set learning_rate=1e-5) or evaluate an earlier checkpoint."
        )
    return ExampleLoss(
        id=example.id,
        table_id=example.table_id,
        full_nll=full_nll,
        full_tokens=int(full.size),
        completion_nll=float(of_completion.sum()),
        completion_tokens=int(of_completion.size),
        mlx_lm_nll=float(nll.mlx_lm_nll[:-1].sum()),
        after_end_nll=float(nll.mlx_lm_nll[-1]),
    )


def _mean(nll: Sequence[float], tokens: Sequence[int]) -> LossValue:
    if not any(tokens):
        raise UserError("no token to score: the split is empty or its texts are one token long")
    return LossValue.of_sum(math.fsum(nll), sum(tokens))
