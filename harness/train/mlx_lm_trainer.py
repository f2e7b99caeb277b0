"""`mlx_lm.tuner.trainer.train` called as a library: silent, without lasting patches.

Model + optimizer + variant + our batches and callback -> the model trained in place. What mlx-lm's
function does besides training (a table on standard output, a patched block class, a compiled step
where that costs time) is held off for the length of the call. Written against mlx-lm 0.32.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from harness.backend import backend_name, mx, nn
from harness.errors import UserError
from harness.models.lm_head import SplitModel
from harness.out_of_memory import is_out_of_memory
from harness.train.batches import BatchIterator
from harness.train.loss_function import training_loss
from harness.train.variant import Variant


def train_with_mlx_lm(
    model: nn.Module,
    optimizer: Any,
    variant: Variant,
    split: SplitModel | None,
    out: Path,
    batches: BatchIterator,
    callback: Any,
) -> None:
    """Run mlx-lm's loop from ``batches.start`` on, with the loss on ``split`` where it is given.

    ``callback`` is called with every loss and does the validation and saving. ``out`` must exist or
    be creatable: mlx-lm writes its own last adapter there, which is removed.
    """
    from mlx_lm.tuner import trainer

    iterations = variant.iters - batches.start
    out.mkdir(parents=True, exist_ok=True)
    left = out / ".trainer.safetensors"
    arguments = trainer.TrainingArgs(
        batch_size=variant.batch_size,
        iters=iterations,
        steps_per_report=1,  # every loss is needed: NaN, token-weighted means
        steps_per_save=iterations + 1,
        max_seq_length=variant.max_seq_length,
        adapter_file=str(left),
        grad_checkpoint=variant.grad_checkpoint,
        grad_accumulation_steps=variant.grad_accumulation_steps,
        clear_cache_threshold=variant.clear_cache_threshold,
    )
    with ExitStack() as during, ExitStack() as until_first_batch:
        # mlx-lm shows its table on standard output on the first rank only.
        shown: Any = trainer.TrainUI
        silent = _replaced(trainer, "TrainUI", lambda iterations, rank: shown(iterations, rank=1))
        during.enter_context(silent)
        # mlx-lm's `grad_checkpoint` patches the class of the blocks for good.
        block = type(model.layers[0])
        during.enter_context(_replaced(block, "__call__", block.__call__))
        if backend_name() == "cpu":
            # A step compiled anew for every width of batch took 4 to 20% more processor time than
            # one never compiled (SmolLM2-135M, batch 4), and the same time where the width repeats.
            # Functions that are compiled already, such as mlx-lm's swiglu, stay so.
            plain = _replaced(mx, "compile", lambda function, **_: function)
            until_first_batch.enter_context(plain)

        def iterate_batches(**settings: Any) -> Iterator[tuple[mx.array, ...]]:
            until_first_batch.close()  # by now the step function exists
            return batches(**settings)

        trainer.train(
            model=model,
            optimizer=optimizer,
            train_dataset=(),
            val_dataset=None,
            args=arguments,
            loss=partial(training_loss, split=split),
            iterate_batches=iterate_batches,
            training_callback=callback,
        )
    left.unlink(missing_ok=True)


@contextmanager
def errors_explained(variant: Variant, longest: int) -> Iterator[None]:
    """Turn MLX's errors about memory and disk into messages with a remedy.

    ``longest`` is the length of the longest row in tokens.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "[write]" in str(error):  # mlx-lm's own copy of the last adapter
            raise UserError(f"cannot write the adapter of {variant.name!r}: {error}") from error
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"fine-tuning {variant.name!r} ran out of memory at batch_size={variant.batch_size}, "
            f"max_seq_length={variant.max_seq_length}, the longest row having {longest} tokens "
            f"({error}). Lower batch_size (and raise "
            "grad_accumulation_steps to keep the updates), lower max_seq_length or num_layers, "
            "set grad_checkpoint=true, or quantize the base."
        ) from error


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute of a module or class another value for the length of the block."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
