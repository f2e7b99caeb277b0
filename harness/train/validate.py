"""Validation during training: `full_text` loss over the same subset of rows every time.

Rows + model -> one mean, token-weighted, the same at any batch size. The subset is the head of the
seeded, table-stratified order of ``data/sampling.py``. The evaluation proper, with a loss for each
example, is ``measure/loss.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.backend import mx, nn
from harness.data.records import Example, LogicalForm, Split
from harness.data.sampling import stratified
from harness.data.tokens import TokenizedExample
from harness.measure.batch_plan import length_batches, pad
from harness.models.lm_head import SplitModel
from harness.progress import ProgressCallback, silent
from harness.sharding import Shard
from harness.train.loss_function import scored_nats, span_targets


def validation_rows(
    rows: Sequence[TokenizedExample], count: int, seed: int
) -> list[TokenizedExample]:
    """The first ``count`` rows (-1: all) of the seeded order in which tables take turns."""
    blank = LogicalForm(0, 0, ())
    stand_ins = tuple(Example(at, row.table_id, "", blank) for at, row in enumerate(rows))
    chosen = stratified(Split("valid", stand_ins, {}), count, seed)
    return [rows[stand_in.id] for stand_in in chosen]


def mean_loss(
    model: nn.Module,
    rows: Sequence[TokenizedExample],
    batch_size: int,
    progress: ProgressCallback = silent,
    label: str = "validate",
    split: SplitModel | None = None,
) -> float:
    """Mean nats a target over ``rows``; leaves the model in evaluation mode.

    With ``split``, the model cut before its output layer, only scored targets get logits.
    Whole batches go to the ranks in turn; every rank gets the same number back.
    """
    model.eval()
    batches = length_batches([len(row.tokens) for row in rows], batch_size, longest_first=False)
    share = Shard.of_the_group()
    nats, targets = 0.0, 0
    for number, batch in enumerate(batches):
        if share.takes(number):
            chosen = [rows[at] for at in batch]
            nats += _batch_nats(model, chosen, split)
            targets += sum(span_targets(0, len(row.tokens)) for row in chosen)
        progress(label, number + 1, len(batches))
    sums = share.gather([nats, targets])
    return math.fsum(part[0] for part in sums) / max(1, sum(int(part[1]) for part in sums))


def _batch_nats(
    model: nn.Module, rows: Sequence[TokenizedExample], split: SplitModel | None
) -> float:
    spans = mx.array([(0, len(row.tokens)) for row in rows])
    return scored_nats(model, mx.array(pad([row.tokens for row in rows])), spans, split)
