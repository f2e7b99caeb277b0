"""What the model process is at, in words for the moment when memory runs out.

Variant + the longest row at hand -> a sentence with batch size, sequence length and what to lower.
The process writes it to its log before the work, so that its parent can tell it of a child that
was killed, or died of an allocation that MLX did not check (``models/exhausted.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import psutil

from harness.train.variant import Variant

MARK = "working: "
"""Begins the line in the log of the model process."""

_written = ["starting"]


def training(variant: Variant, rows: Iterable[Sequence[int]]) -> str:
    """Fine-tuning: all of it is the variant's to change."""
    return (
        f"fine-tuning {variant.name!r} at batch_size={variant.batch_size}, rows of up to "
        f"{_longest(rows)} tokens (max_seq_length={variant.max_seq_length}). Lower batch_size "
        "(raise grad_accumulation_steps to keep the updates), max_seq_length or num_layers, set "
        "grad_checkpoint=true (each by --set KEY=VALUE), or use a quantized base"
    )


def shortage(peak_bytes: int) -> str:
    """What to add to an estimate of ``peak_bytes``: a warning where less is free."""
    free = psutil.virtual_memory().available
    if peak_bytes <= free:
        return ""
    return (
        f", but only {free / 1e9:.1f} GB are free: expect it to run out, or lower batch_size or "
        "max_seq_length with --set"
    )


def evaluating(what: str, batch: int, rows: Iterable[Sequence[int]]) -> str:
    """Loss or generation: the batch is part of the protocol, so the model must shrink."""
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


def told(working: str | None = None) -> str:
    """The user's message; of this process's own work when None."""
    return f"memory ran out while {working or _written[-1]}."


def write(working: str) -> None:
    """Note in the log what begins now."""
    _written[0] = working
    print(f"{MARK}{working}", file=sys.stderr, flush=True)


def last_of(log: str) -> str | None:
    """What a process was at when its log ended."""
    lines = [line for line in log.splitlines() if line.startswith(MARK)]
    return lines[-1].removeprefix(MARK) if lines else None


def without_marks(log: str) -> str:
    """The log as it would be without these notes."""
    return "\n".join(line for line in log.splitlines() if not line.startswith(MARK))


def _longest(rows: Iterable[Sequence[int]]) -> int:
    return max((len(row) for row in rows), default=0)
