"""Sentences for the moment when memory runs out: what was being done, and what to lower.

A variant and the token rows of the work that begins -> a sentence with batch size, sequence length
and the options to change. The model process sends it to its parent before the work, so that the
parent can show it when the process was killed, or died of an allocation that MLX did not check
(``out_of_memory``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psutil

from harness.train.variant import Variant


def training(variant: Variant, rows: Iterable[Sequence[int]]) -> str:
    """Fine-tuning: every quantity belongs to the variant, so options can change each."""
    return (
        f"fine-tuning {variant.name!r} at batch_size={variant.batch_size}, rows of up to "
        f"{_longest(rows)} tokens (max_seq_length={variant.max_seq_length}). Lower batch_size "
        "(raise grad_accumulation_steps to keep the updates), max_seq_length or num_layers, set "
        "grad_checkpoint=true (each by --set KEY=VALUE), or use a quantized base"
    )


def shortage(peak_bytes: int) -> str:
    """The end of the sentence of an estimate: a warning where less than ``peak_bytes`` is free."""
    free = psutil.virtual_memory().available
    if peak_bytes <= free:
        return ""
    return (
        f", but only {free / 1e9:.1f} GB are free: expect it to run out, or lower batch_size or "
        "max_seq_length with --set"
    )


def evaluating(what: str, batch: int, rows: Iterable[Sequence[int]]) -> str:
    """Loss or generation: the protocol fixes the batch, so only a smaller model takes less."""
    return (
        f"{what}, {batch} at once, of up to {_longest(rows)} tokens. Use a quantized base "
        "(--variant=qlora) or a smaller model, close what else uses memory, or lower "
        "max_seq_length with --set"
    )


def loading(model: str, stored_bytes: int) -> str:
    """Loading a base."""
    return (
        f"loading model {model!r} ({stored_bytes / 1e9:.1f} GB on disk). Use a quantized base "
        "(--variant=qlora, or a 4-bit model) or a smaller model, or close what else uses memory"
    )


def ran_out(working: str) -> str:
    """The message to the user when memory ran out; ``working`` is one of the sentences above."""
    return f"memory ran out while {working}."


def _longest(rows: Iterable[Sequence[int]]) -> int:
    return max((len(row) for row in rows), default=0)
