"""The tables of docs/models.md: plans of real shapes on a Mac, and peaks measured beside estimated.

`PYTHONPATH=. python tests/train/plan_tables.py` prints them; `test_estimate.py` compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from memory_of_shapes import config_of  # noqa: E402

from harness.markdown import table  # noqa: E402
from harness.models.parameters import predict  # noqa: E402
from harness.train.estimate import (  # noqa: E402
    Computer,
    Subject,
    decoding_bytes,
    training_bytes,
    working_set,
)
from harness.train.past_runs import PastRuns  # noqa: E402
from harness.train.plan import make_plan  # noqa: E402
from harness.train.variant import Variant  # noqa: E402
from harness.train.variants import load_variants  # noqa: E402

NAMES = {
    "mistral-7b": "Mistral-7B",
    "llama-3-8b": "Llama-3-8B",
    "qwen3-8b": "Qwen3-8B",
    "qwen3-4b": "Qwen3-4B",
    "qwen3-0.6b": "Qwen3-0.6B",
}
PEAKS = [json.loads(line) for line in (HERE / "measured_peaks.jsonl").read_text().splitlines()]
"""What `memory_of_shapes.py` printed."""


def subject_of(variant: Variant, config: dict[str, Any]) -> Subject:
    """The variant of the model that ``config`` describes."""
    lora = variant.lora_parameters.model_dump(exclude_none=True)
    method, quantize = variant.fine_tune_type, variant.quantize
    assert quantize != "source"
    counts, sizes = predict(config, method, variant.num_layers, lora, quantize)
    return Subject(variant, config, counts, sizes.base_by_dtype)


def estimated(peak: dict[str, Any]) -> tuple[int, int]:
    """The estimates of a measured row: training, and answering 16 prompts."""
    bits, on_cpu = int(peak["bits"]), peak["path"] == "cpu"
    config = config_of(peak["shape"], int(peak["layers"]))
    config["torch_dtype"] = "float32" if bits == 32 else "bfloat16"
    if bits == 4:
        config["quantization"] = {"bits": 4, "group_size": 64}
    name, *settings = peak["variant"].split(",")
    variant = load_variants([name], dict(setting.split("=") for setting in settings))[0]
    subject = subject_of(variant.model_copy(update={"quantize": None}), config)
    backend = "cpu" if on_cpu else "metal"
    computer = Computer(backend, 25 * 10**9, 80, chunked_loss=on_cpu)
    batch, length = int(peak["batch"]), int(peak["length"])
    # Float32 copies of packed weights answer on a CPU.
    copies = 4 * subject.counts.total if on_cpu and bits == 4 else 0
    answering = subject.loaded_bytes(backend) + copies
    answering += decoding_bytes(subject, backend, 16, length, 3)
    return training_bytes(subject, computer, batch, length), answering


def measured_table() -> str:
    """Peaks of training, measured and estimated, with the error in percent."""
    rows = []
    for peak in PEAKS:
        found = estimated(peak)[0]
        rows.append(
            [
                f"{NAMES[peak['shape']]}, {peak['layers']} layers",
                "as on a GPU" if peak["path"] == "gpu" else "CPU",
                peak["bits"],
                peak["variant"].replace("grad_checkpoint=true", "checkpointing"),
                f"{peak['batch']} × {peak['length']}",
                *(f"{number / 1e9:.2f}" for number in (peak["weights"], peak["train"], found)),
                f"{100 * (found / peak['train'] - 1):+.1f}%",
            ]
        )
    headers = ["Shape", "Computed", "Bits", "Variant", "Batch", "Weights, GB"]
    return table([*headers, "Measured peak", "Estimated", "Error"], rows)


def plans_table() -> str:
    """Memory in GB of two variants of each shape on Metal, and the smallest Mac that has it."""
    rows = []
    for shape, name in NAMES.items():
        for variant in load_variants(["qlora", "lora"]):
            subject = subject_of(variant, config_of(shape))
            plan = make_plan(shape, subject, Computer("metal", 10**12), PastRuns(HERE))
            peaks = {(load.batch_size, load.length): load.peak_bytes for load in plan.training}
            trained = [peaks[at] for at in ((1, 128), (4, 128), (4, 512), (1, 2048))]
            answer = plan.answering[0].peak_bytes
            least = max(trained[1], answer, plan.fusing_bytes)
            macs = (8, 16, 24, 32, 48, 64, 96, 128)
            mac = next(size for size in macs if working_set("metal", size * 2**30) >= least)
            disk = plan.disk.base_bytes + plan.disk.training_bytes + plan.disk.fused_bytes
            numbers = [plan.loaded_bytes, *trained, answer, plan.fusing_bytes]
            numbers += [plan.dequantized_bytes, disk]
            cells = [f"{number / 1e9:.1f}" if number else "–" for number in numbers]
            rows.append([name, f"`{variant.name}`", *cells, f"{mac} GB"])
    headers = ["Model", "Variant", "Base", "Train 1 × 128", "4 × 128", "4 × 512", "1 × 2048"]
    headers += ["Answer 16 × 128", "Fuse", "Dequantized", "Disk", "Least Mac"]
    return table(headers, rows)


if __name__ == "__main__":
    print(plans_table(), measured_table(), sep="\n\n")
