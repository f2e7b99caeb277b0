"""Sentences for the moment when memory runs out: what was being done, and what to lower.

A variant and the token rows of the work that begins -> a sentence with batch size, sequence length
and the options to change. The model process sends it to its parent before the work, so that the
parent can show it when the process was killed, or died of an allocation that MLX did not check
(``out_of_memory``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.schema.stage_results import DeviceMemory
from harness.train.variant import Variant

_HALF = ("float16", "bfloat16")
_WIRED_STEP_MB = 256
_MOST_OF_THE_HOST = 0.9
"""The share of a Mac's memory up to which the GPU's limit may be advised to be raised."""


def training(variant: Variant, rows: Iterable[Sequence[int]]) -> str:
    """Fine-tuning: every quantity belongs to the variant, so options can change each."""
    return (
        f"fine-tuning {variant.name!r} at batch_size={variant.batch_size}, rows of up to "
        f"{_longest(rows)} tokens (max_seq_length={variant.max_seq_length}). Lower batch_size "
        "(raise grad_accumulation_steps to keep the updates), max_seq_length or num_layers, set "
        "grad_checkpoint=true (each by --set KEY=VALUE), or use a quantized base"
    )


def shortage(peak_bytes: int, memory: DeviceMemory) -> str:
    """The end of the sentence of an estimate: a warning where less than ``peak_bytes`` can be had.

    What this process holds counts as free: the base, which is in the estimate, is loaded anew.
    """
    if peak_bytes <= memory.reachable_bytes:
        return ""
    return (
        f", but only {_free(memory)}: expect it to run out, or lower batch_size or "
        f"max_seq_length with --set{more_for_the_gpu(memory, peak_bytes)}"
    )


def too_large(model: str, by_dtype: Mapping[str, int], memory: DeviceMemory) -> str:
    """A warning before a model is loaded that does not fit; empty where it does.

    ``by_dtype`` are its bytes on disk; half precision becomes float32 on a CPU.
    """
    wider = 2 if memory.backend == "cpu" else 1
    needed = sum(n * (wider if dtype in _HALF else 1) for dtype, n in by_dtype.items())
    if needed <= memory.reachable_bytes:
        return ""
    return (
        f"model {model!r} takes {needed / 1e9:.1f} GB, but only {_free(memory)}: expect it to run "
        "out. Use a quantized base (--variant=qlora, or a 4-bit model) or a smaller model, or "
        f"close what else uses memory{more_for_the_gpu(memory, needed)}"
    )


def more_for_the_gpu(memory: DeviceMemory, needed: int) -> str:
    """The command that lets a Mac's GPU take ``needed`` bytes, to end a sentence with; empty where
    its limit is high enough, or the machine too small (mlx-lm's README, "Large Models")."""
    fits = memory.total_bytes < needed <= _MOST_OF_THE_HOST * memory.host_bytes
    if memory.backend != "metal" or not fits:
        return ""
    megabytes = -(-needed // (_WIRED_STEP_MB * 2**20)) * _WIRED_STEP_MB
    return (
        f". macOS lets the GPU take {memory.total_bytes / 1e9:.1f} of "
        f"{memory.host_bytes / 1e9:.1f} GB; `sudo sysctl iogpu.wired_limit_mb={megabytes}` raises "
        "that until the next start"
    )


def _free(memory: DeviceMemory) -> str:
    where = {"metal": " for the GPU", "cuda": " on the GPU"}.get(memory.backend, "")
    return f"{memory.reachable_bytes / 1e9:.1f} GB are free{where}"


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
