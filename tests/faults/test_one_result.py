"""The same command with the same seed on the same machine gives the same bytes, whatever the load.

Byte for byte where the BLAS gives the same product for the same arrays in every process; the ones
tried are named in `docs/measurements.md`.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench_command import ROOT, Bench, without_times

from harness.models.cpu.rule import MLX_RULE, Rule, rule_for

TRAINED = """
import sys
from hashlib import sha256
from pathlib import Path
from training_rows import make_rows, make_variant
from harness.disk.cache import Cache
from harness.measure.generate import generate
from harness.measure.loss import evaluate
from harness.models.load import load
from harness.models.quantize import quantized
from harness.models.resolve import resolve
from harness.train.finetune import finetune
out, cache, base = Path(sys.argv[2]), Cache(Path(sys.argv[2]) / "cache"), Path(sys.argv[1])
variant = make_variant("qlora", iters=6)
loaded = load(quantized(resolve(str(base), cache), variant.quantize, cache))
rows, valid = make_rows(21, seed=0), make_rows(9, seed=1)
result = finetune(loaded, variant, rows, valid, out / "adapter")
print(sha256((out / "adapter" / "adapters.safetensors").read_bytes()).hexdigest())
print([(point.train_loss, point.val_loss) for point in result.curve])
tuned = load(loaded.base, result.adapter)
tuned.accelerate()
print([(loss.full_nll, loss.completion_nll) for loss in evaluate(tuned.model, rows)])
prompts = [list(row.tokens[: row.prompt_length]) for row in rows]
print([answer.text for answer in generate(tuned, prompts)])
"""


def trained(two_layers: Path, out: Path, threads: int, **environment: str) -> str:
    """Adapter, losses and answers of a training in a process of its own, as text."""
    out.mkdir()
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "train")])
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, str(two_layers), str(out)],
        cwd=out,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    return done.stdout


@pytest.mark.slow
def test_two_processes_train_and_answer_to_the_same_bytes(two_layers: Path, tmp_path: Path) -> None:
    first, second = (trained(two_layers, tmp_path / name, 1) for name in "ab")
    assert first == second


@pytest.mark.slow
def test_another_blas_moves_losses_by_less_than_a_millionth(
    two_layers: Path, tmp_path: Path
) -> None:
    """As another machine does: its products round otherwise, and no answer changes."""
    first = trained(two_layers, tmp_path / "own", 1).splitlines()
    other = trained(two_layers, tmp_path / "mlx", 1, TUNEBENCH_BLAS="off").splitlines()
    for mine, theirs in zip(first[1:3], other[1:3], strict=True):
        for row, same in zip(ast.literal_eval(mine), ast.literal_eval(theirs), strict=True):
            known = [value for value in row if value is not None]
            assert known == pytest.approx([v for v in same if v is not None], rel=1e-6)
    assert first[3] == other[3]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_command_leaves_the_same_run(threads: int, tmp_path: Path) -> None:
    options = ("--variant=lora", "--limit=20", "--set", "iters=60", "-k", "loss or execution")
    left = []
    for number in range(3):
        bench = Bench(tmp_path / str(number), options)
        status, output = bench.run("run", OMP_NUM_THREADS=str(threads))
        assert status == 0, output
        adapters = sorted((bench.cache / "finetune").rglob("*.safetensors"))
        rows = sorted((bench.runs / "run").glob("*.jsonl"))
        left.append(
            {path.name: path.read_bytes() for path in [*adapters, *rows]}
            | {"results": without_times(bench.results("run"))}
        )
    assert left[1:] == left[:-1]
    assert {"adapters.safetensors", "losses.lora.jsonl", "predictions.lora.jsonl"} <= set(left[0])


def test_a_rule_follows_from_system_and_blas_alone() -> None:
    assert rule_for("Linux", "mkl") == rule_for("Linux", "openblas")
    by_name: dict[str, Rule] = {}
    for system in ("Linux", "Darwin"):
        for blas in ("mkl", "openblas", "custom", "accelerate", "reference"):
            rule = rule_for(system, blas)
            assert by_name.setdefault(rule.name, rule) == rule
    assert len(by_name) == 3
    assert MLX_RULE not in by_name.values()


CLOCKS = {"time", "timeit", "datetime"}


def imported(file: Path) -> set[str]:
    """The modules that a file imports, functions' own imports counted."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def test_nothing_that_chooses_a_kernel_can_read_a_clock() -> None:
    files = sorted((ROOT / "harness" / "models" / "cpu").glob("*.py"))
    assert len(files) > 5
    assert [file.name for file in files if imported(file) & CLOCKS] == []
