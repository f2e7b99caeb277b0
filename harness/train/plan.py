"""Before any download: what training, answering and fusing a variant would take, and what fits.

`estimate.py`'s subject and computer -> :class:`Plan`: memory by batch size and length, disk, time.
Where this machine's earlier runs are known, training is corrected by them (`past_runs.py`). Whether
the network or the disk deliver is not asked.
"""

from __future__ import annotations

from dataclasses import replace

from harness.markdown import bullets, duration, gigabytes, paragraphs, table
from harness.protocols import BATCH_ROWS, LINE_TOKENS
from harness.schema.record import Record
from harness.train.estimate import (
    Computer,
    Subject,
    answering_bytes,
    estimate,
)
from harness.train.past_runs import PastRuns
from harness.train.resume_state import disk_bytes

BATCHES = (1, 2, 4, 8)
LENGTHS = (128, 256, 512, 1024, 2048)
_FUSING_BYTES = 16
"""For each number of a fused layer in the making: float32 copies of its weights, the adapter's
share of them, and their sum (`tests/train/test_fuse.py`)."""


_UNFITTED = (
    "Not fitted to this architecture: its blocks (state spaces, convolutions, compressed keys or "
    "another kind of experts) are counted as those of a Llama of the same widths, and training and "
    "answering may take far more or less than is given here."
)


class Load(Record):
    """One way to use the variant: a batch of rows of one length."""

    batch_size: int
    length: int
    peak_bytes: int
    fits: bool
    train_s: float | None = None
    """Seconds of the variant's iterations; None where the speed is not known."""


class Disk(Record):
    """Bytes on disk."""

    base_bytes: int
    training_bytes: int
    """Checkpoints and resume states, for as long as it trains."""
    fused_bytes: int
    dequantized_bytes: int
    """The second fused form, of a quantized base; 0 without one."""


class Plan(Record):
    """What a variant of a model takes."""

    model: str
    variant: str
    backend: str
    memory_bytes: int
    """What MLX may take on such a machine."""
    measured: bool
    """Whether peaks of this backend were measured; else they are computed."""
    fitted: bool
    """Whether the architecture is one to whose blocks the estimates are fitted."""
    past_runs: int
    """Of this machine, by which training is corrected."""
    loaded_bytes: int
    """The base in memory."""
    training: list[Load]
    answering: list[Load]
    """The protocol's batch, by length of the prompts."""
    fusing_bytes: int
    """While the fused model is written."""
    dequantized_bytes: int
    """While the dequantized one is measured; 0 where there is none."""
    disk: Disk


def make_plan(model: str, subject: Subject, computer: Computer, past: PastRuns) -> Plan:
    """The plan of one variant, corrected by ``past``, empty for a machine that is not this one."""
    memory, variant = computer.memory_bytes, subject.variant
    context = min(variant.max_seq_length, subject.model.context or variant.max_seq_length)
    lengths = [length for length in LENGTHS if length <= context] or [context]

    def training(batch: int, length: int) -> Load:
        changed = replace(subject, variant=variant.model_copy(update={"batch_size": batch}))
        found = past.corrected(estimate(changed, computer, [length]))
        return Load(
            batch_size=batch,
            length=length,
            peak_bytes=found.peak_bytes,
            fits=found.peak_bytes <= memory,
            train_s=None if computer.gflops is None else found.train_s,
        )

    def answering(length: int) -> Load:
        peak = answering_bytes(subject, computer, length, LINE_TOKENS)
        return Load(batch_size=BATCH_ROWS, length=length, peak_bytes=peak, fits=peak <= memory)

    base, trains = sum(subject.base_by_dtype.values()), subject.adapted > 0
    plain = subject.counts.total * subject.stored_float_bytes if subject.quantized else 0
    return Plan(
        model=model,
        variant=variant.name,
        backend=computer.backend,
        memory_bytes=memory,
        measured=computer.backend == "cpu",
        fitted=subject.fitted,
        past_runs=len(past.runs),
        loaded_bytes=subject.loaded_bytes(computer.backend),
        training=[training(b, n) for n in lengths for b in BATCHES] if trains else [],
        answering=[answering(length) for length in lengths],
        fusing_bytes=base + _FUSING_BYTES * subject.largest_layer if trains else 0,
        dequantized_bytes=answering_bytes(subject.dequantized(), computer, 128, LINE_TOKENS)
        if trains and plain
        else 0,
        disk=Disk(
            base_bytes=base,
            training_bytes=disk_bytes(variant, subject.trainable_bytes(computer.backend)),
            fused_bytes=base if trains else 0,
            dequantized_bytes=plain if trains else 0,
        ),
    )


def render(plan: Plan) -> str:
    """The plan as Markdown: memory by length and batch, then what else it takes."""
    how = "fitted to peaks measured on CPUs" if plan.measured else "computed, not measured"
    past = f", corrected by {plan.past_runs} earlier runs of this machine" if plan.past_runs else ""
    title = (
        f"{plan.variant} on {plan.model}, {plan.backend} with {gigabytes(plan.memory_bytes)} for "
        f"MLX ({how}{past}); loaded the base takes {gigabytes(plan.loaded_bytes)}. What does not "
        "fit is in brackets."
    )
    lengths = list(dict.fromkeys(load.length for load in plan.answering))
    rows = [
        [
            str(length),
            *(_cell(load) for load in plan.training if load.length == length),
            *(_cell(load) for load in plan.answering if load.length == length),
        ]
        for length in lengths
    ]
    batches = list(dict.fromkeys(load.batch_size for load in plan.training))
    headers = ["Tokens a row", *(f"train, batch {b}" for b in batches)]
    loads = table([*headers, f"answer, batch {BATCH_ROWS}"], rows)
    return paragraphs(title, "" if plan.fitted else _UNFITTED, loads, _else(plan))


def _cell(load: Load) -> str:
    text = gigabytes(load.peak_bytes)
    if load.train_s is not None:
        text += f", {duration(load.train_s)}"
    return text if load.fits else f"({text})"


def _else(plan: Plan) -> str:
    """The largest trainings that fit, fusing and disk, in sentences."""
    lines = [_largest(plan)] if plan.training else []
    lines += [
        f"disk: base {gigabytes(plan.disk.base_bytes)}; while training "
        f"{gigabytes(plan.disk.training_bytes)} of checkpoints and states"
    ]
    if plan.fusing_bytes:
        lines.append(
            f"fusing: {gigabytes(plan.fusing_bytes)} of memory, "
            f"{gigabytes(plan.disk.fused_bytes)} of disk"
        )
    if plan.dequantized_bytes:
        lines.append(
            f"the dequantized form: {gigabytes(plan.dequantized_bytes)} of memory, "
            f"{gigabytes(plan.disk.dequantized_bytes)} of disk; left out where it does not fit"
        )
    return bullets(lines)


def _largest(plan: Plan) -> str:
    """For each batch, the largest first, the longest rows that fit and no larger batch can take."""
    found: list[str] = []
    longest = 0
    for load in sorted(plan.training, key=lambda load: (-load.batch_size, load.length)):
        if load.fits and load.length > longest:
            longest = load.length
            said = f"batch {load.batch_size} up to {longest} tokens a row"
            if found and found[-1].startswith(f"batch {load.batch_size} "):
                found.pop()
            found.append(said)
    return f"training that fits: {', '.join(found) or 'none of these'}"
