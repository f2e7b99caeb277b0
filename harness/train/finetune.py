"""Fine-tune one variant with mlx-lm's trainer and keep what it leaves.

Loaded model + variant + token rows -> :class:`FinetuneResult`: the curve, numbered checkpoints, an
adapter folder; the tuned model stays in ``loaded.model``. The loop is
``mlx_lm.tuner.trainer.train``; its batches, loss, optimizer and callbacks are ours
(``loop.py``). ``out`` must be the same folder when a killed run is started again: it then goes
on from the last resume state. Evaluation is not done here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from pydantic import Field

from harness.backend import mx
from harness.data.tokens import TokenizedExample
from harness.disk.files import content_key, sha256_file, write_json
from harness.errors import UserError
from harness.measure.memory import MemoryPhase
from harness.models.chunked_loss import split_for_loss
from harness.models.load import LoadedModel
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.progress import ProgressCallback, silent
from harness.schema.stage_results import Training
from harness.schema.variant_result import CurvePoint
from harness.sharding import Shard
from harness.train.curve import Curve
from harness.train.loop import TrainingJob, TrainingLoop
from harness.train.loss_function import mean_loss, validation_rows
from harness.train.resume_state import StateStore, checkpoints_in, damaged_files
from harness.train.trainable import apply_variant, remove_temporaries, save_adapter
from harness.train.variant import Variant

RESULT = "finetune.json"


class FinetuneResult(Training):
    """What fine-tuning left: its record, the adapter's folder, and what this project added."""

    adapter: Path | None = Field(description="The adapter's folder; None for `base`.")
    overhead_s: float = Field(
        default=0.0, description="Time in our batches and callbacks, not validation or saving."
    )
    step_s: float = Field(default=0.0, description="Time in mlx-lm's steps.")


def finetune(
    loaded: LoadedModel,
    variant: Variant,
    train: Sequence[TokenizedExample],
    valid: Sequence[TokenizedExample],
    out: Path,
    progress: ProgressCallback = silent,
    on_row: Callable[[CurvePoint], None] = lambda row: None,
) -> FinetuneResult:
    """Train ``variant`` on ``train`` and leave the tuned model in ``loaded.model``.

    Args:
        loaded: a base model as ``models/load.py`` gives it, without an adapter.
        variant: what to train; ``base`` is only validated.
        train: token rows, any order.
        valid: rows to choose the validation subset from.
        out: a folder for adapter, checkpoints and resume state. A finished training found there
            is loaded, an unfinished one is continued, if settings and data are the same.
        progress: called after every iteration and every validation batch.
        on_row: called with each row of the curve when it is made; a resumed training begins with
            those that it has.

    Raises:
        UserError: an empty split, a loss that became NaN, no memory, a folder that cannot be
            written.
    """
    _require_rows(variant, train, valid)
    count = -1 if variant.val_batches == -1 else variant.val_batches * variant.batch_size
    subset = validation_rows(valid, count)
    if not variant.trains:
        return _base_only(loaded, variant, subset, progress)
    fingerprint = _fingerprint(loaded, variant, train, subset)
    share = Shard.of_the_group()
    if share.rank == 0:
        remove_temporaries(out)
    finished, damage = read_result(out, fingerprint)
    store, begun = _begun(out, fingerprint, finished is not None, share)
    if begun == _FINISHED and finished is None:
        return _UNTRAINED
    store.notes += damage
    loaded.accelerate(hold=False)
    apply_variant(loaded.model, variant)
    if finished is not None:
        loaded.model.load_weights(str(out / ADAPTER_FILE), strict=False)
        loaded.model.eval()
        return finished
    job = TrainingJob(loaded, variant, out, train, subset, on_row)
    loop = TrainingLoop(job, store, progress)
    loop.run()
    result = _trained(loop, store.notes, out)
    if share.rank == 0:
        save_adapter(loaded.model, variant, loaded.base.id, out)
        _write_result(out, result, fingerprint, store.checksums)
        store.clear()
    return result


def _trained(loop: TrainingLoop, notes: list[str], out: Path) -> FinetuneResult:
    """The record of a loop that has ended."""
    return FinetuneResult(
        curve=loop.curve.points,
        wall_s=loop.elapsed_s(),
        checkpoints=list(checkpoints_in(out)),
        train=loop.memory["train"].so_far,
        validation=loop.memory["validate"].so_far,
        adapter=out,
        resumed_from=loop.resumed_from,
        overhead_s=loop.overhead_s,
        step_s=loop.step_s,
        notes=notes,
    )


_FINISHED = -1
_UNTRAINED = FinetuneResult(
    curve=[],
    wall_s=0.0,
    resumed_from=None,
    checkpoints=[],
    train=None,
    validation=None,
    notes=[],
    adapter=None,
)
"""The record where rank 0 finds its training finished, and of `base` before validation."""


def _begun(out: Path, fingerprint: str, finished: bool, share: Shard) -> tuple[StateStore, int]:
    """The states in ``out``, and the iteration that the first rank goes on from.

    Raises:
        UserError: another rank lacks that state, or its data differ.
    """
    store = StateStore(out / "state", fingerprint) if share.rank == 0 else None
    start = share.gather(_FINISHED if finished else _start(store))[0]
    if store is None:
        store = StateStore(out / "state", fingerprint, at=start)
    if start != _FINISHED:
        starts = share.gather(_start(store))
        if starts != [start] * share.size:
            raise UserError(
                f"the ranks would go on from iterations {', '.join(map(str, starts))}: their data "
                "or versions differ. Give all of them the same dataset, model and packages."
            )
    return store, start


def _start(store: StateStore | None) -> int:
    return 0 if store is None or store.newest is None else store.newest.iteration


def _require_rows(
    variant: Variant, train: Sequence[TokenizedExample], valid: Sequence[TokenizedExample]
) -> None:
    for name, rows, needed in (("train", train, variant.trains), ("valid", valid, True)):
        if needed and not rows:
            raise UserError(
                f"the {name} split is empty: fine-tuning {variant.name!r} needs at least one "
                "example in it. See: python -m harness describe DATASET."
            )


def _base_only(
    loaded: LoadedModel,
    variant: Variant,
    subset: Sequence[TokenizedExample],
    progress: ProgressCallback,
) -> FinetuneResult:
    started = time.perf_counter()
    loaded.accelerate(hold=False)
    apply_variant(loaded.model, variant)
    label, curve = f"validate {variant.name}", Curve()
    with MemoryPhase() as memory:
        split = split_for_loss(loaded.model, loaded.chunked_loss)
        loss = mean_loss(loaded.model, subset, variant.batch_size, progress, label, split)
    curve.close(0, loss)
    measured = {
        "curve": curve.points,
        "wall_s": time.perf_counter() - started,
        "validation": memory.measured,
    }
    return _UNTRAINED.model_copy(update=measured)


def _fingerprint(
    loaded: LoadedModel,
    variant: Variant,
    train: Sequence[TokenizedExample],
    subset: Sequence[TokenizedExample],
) -> str:
    """Equal for two trainings only if they would leave the same bytes."""
    return content_key(
        "finetune-2",
        loaded.base.sha256,
        variant.training_config(),
        [(row.tokens, row.prompt_length) for row in train],
        [row.tokens for row in subset],
        mx.distributed.init().size(),
        {name: version(name) for name in ("mlx", "mlx-lm", "numpy")},
    )


def _write_result(
    out: Path, result: FinetuneResult, fingerprint: str, checkpoints: dict[str, str]
) -> None:
    """Write ``finetune.json`` last, so that its presence means that the training is complete."""
    # Found again from the folder, which may be moved.
    record = result.model_dump(mode="json", exclude={"adapter", "checkpoints"})
    files = checkpoints | {name: sha256_file(out / name) for name in (ADAPTER_FILE, ADAPTER_CONFIG)}
    write_json(out / RESULT, {"fingerprint": fingerprint, "files": files} | record)


def read_result(
    out: Path, fingerprint: str | None = None
) -> tuple[FinetuneResult | None, list[str]]:
    """The result of a finished training in ``out``, if it is whole, and what is damaged, in words.

    Args:
        out: the adapter folder, wherever it lies now.
        fingerprint: if given, a result of other settings or data counts as none.
    """
    try:
        record = json.loads((out / RESULT).read_text(encoding="utf-8"))
        if damaged := damaged_files(out, record.pop("files")):
            return None, [f"{out / name} is damaged (checksum): trained again" for name in damaged]
        if fingerprint not in (None, record.pop("fingerprint")):
            return None, []
        return FinetuneResult(checkpoints=list(checkpoints_in(out)), adapter=out, **record), []
    except FileNotFoundError:
        return None, []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, [f"{out / RESULT} is damaged: trained again"]
