"""What a GPU's own fault means to the person at the machine: an error's text -> words and a remedy.

The texts are those of MLX's Metal and CUDA backends (0.32); some of them end the process (a C++
exception), so its last words are looked at as well. Memory that ran out is out_of_memory.py's.
Written from MLX's source and its issues (ml-explore/mlx#3267 and #3186), not seen on a GPU here.
"""

from __future__ import annotations

from dataclasses import dataclass

_KEPT = (
    "Finished stages, and a training up to its last saved step, are kept: the same command goes on "
    "from there."
)


@dataclass(frozen=True, slots=True)
class GpuFault:
    """A fault: ``words`` stand in the error's text (lower case), ``meaning`` and ``remedy`` are
    whole sentences."""

    words: tuple[str, ...]
    meaning: str
    remedy: str


FAULTS = (
    GpuFault(
        ("impacting interactivity", "errorimpactinginteractivity"),
        "macOS stopped the GPU's work because it kept the screen waiting.",
        "Set AGX_RELAX_CDM_CTXSTORE_TIMEOUT=1 before the command (ml-explore/mlx#3267), or let the "
        "display sleep under `caffeinate -is`; else make the steps smaller: lower batch_size, "
        "max_seq_length or num_layers, or grad_checkpoint=true (each by --set KEY=VALUE).",
    ),
    GpuFault(
        ("gpu timeout", "errortimeout", "launch timed out"),
        "The system stopped the GPU's work because one piece of it took too long.",
        "Make the steps smaller: lower batch_size or max_seq_length with --set (raise "
        "grad_accumulation_steps to keep the updates), and close what else uses the GPU.",
    ),
    GpuFault(
        ("resource limit",),
        "Metal allows no more arrays at one time.",
        "Lower num_layers or batch_size with --set, or raise the limit: `sysctl iogpu.rsrc_limit` "
        "shows it and `sudo sysctl iogpu.rsrc_limit=N` sets it until the next start.",
    ),
    GpuFault(
        ("wired limit",),
        "More memory was to be wired for the GPU than macOS allows.",
        "`sudo sysctl iogpu.wired_limit_mb=N` raises the limit until the next start (leave the "
        "system 8 GB), or use a quantized base (--variant=qlora) or a smaller model.",
    ),
    GpuFault(
        ("innocent victim", "victim of gpu error", "errorsubmissionsignored", "access revoked"),
        "Another program's fault on the GPU ended this one's work.",
        "Close what else uses the GPU and repeat the command.",
    ),
    GpuFault(
        ("no kernel image is available", "nokernelimagefordevice", "unsupported gpu architecture"),
        "MLX's CUDA library holds no code for this GPU.",
        "Install the other CUDA wheel (the extras cuda12 and cuda13), or compute on the CPU with "
        "CUDA_VISIBLE_DEVICES=''. `tunebench doctor` shows the GPU.",
    ),
    GpuFault(
        ("driver version is insufficient", "insufficientdriver"),
        "The NVIDIA driver is older than MLX's CUDA library needs.",
        "CUDA 13 needs driver 580 or newer: update it, or install the extra cuda12 in place of "
        "cuda13. `nvidia-smi` shows the driver's version.",
    ),
)


def gpu_fault(text: str) -> str | None:
    """What ``text``, an error or a process's last words, means; None where it names no fault of
    the GPU."""
    lower = text.lower()
    for fault in FAULTS:
        if any(words in lower for words in fault.words):
            return f"{fault.meaning} {fault.remedy} {_KEPT}"
    return None
