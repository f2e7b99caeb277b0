"""The shipped gates on real checkpoints of smollm2 on mini: damage fails, another seed does not.

`gate_proof/` holds our own losses and verdicts of five seeds of lora and qlora and of copies
damaged on purpose; without it these tests fail. The slow test makes such checkpoints anew.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from damage import noisy, rescaled
from gate_proof import FOLDER, cases, degraded, read_case
from results_sample import MemoryRun, renamed

from harness.compare.gates import judge, outcome
from harness.compare.metrics import METRICS
from harness.compare.thresholds import load_gates
from harness.runs.store import read_run
from harness.schema.results import GateResult

ROOT = Path(__file__).resolve().parents[2]
QUALITY = {name: rule for name, rule in load_gates().items() if METRICS[name].paired}
DAMAGE = ("noise", "quarter", "scale")
VARIANTS = ("lora", "qlora")
SEEDS = ("seed0", "seed1", "seed2", "seed3", "seed4")


def gate(new: MemoryRun, old: MemoryRun) -> dict[str, GateResult]:
    return {result.metric: result for result in judge(new, old, QUALITY)}


def reasons(verdicts: dict[str, GateResult]) -> str:
    return "\n".join(f"{g.metric}: {g.verdict}: {g.reason}" for g in verdicts.values())


def test_the_proof_holds_every_case_of_both_variants() -> None:
    assert set(cases()) == set(itertools.product(VARIANTS, (*DAMAGE, *SEEDS)))
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 1_000_000


@pytest.mark.parametrize("method", VARIANTS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_damaged_on_purpose_fails(method: str, damage: str) -> None:
    verdicts = gate(read_case(method, damage), read_case(method, "seed0"))
    assert outcome([*verdicts.values()]).status == "regression", reasons(verdicts)
    assert verdicts["completion_loss"].verdict == "fail", reasons(verdicts)


@pytest.mark.parametrize("method", VARIANTS)
@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(SEEDS, 2)))
def test_the_same_variant_of_another_seed_does_not_fail(method: str, old: str, new: str) -> None:
    verdicts = gate(read_case(method, new), read_case(method, old))
    assert outcome([*verdicts.values()]).status != "regression", reasons(verdicts)


@pytest.mark.parametrize("method", VARIANTS)
@pytest.mark.parametrize("metric", ["ex", "ex_hardened"])
def test_a_small_true_loss_is_inconclusive_not_passed(method: str, metric: str) -> None:
    old = read_case(method, "seed0")
    graded = [row for row in old.rows.predictions[method] if row.ex is not None]
    count = round(0.8 * QUALITY[metric].absolute * len(graded))
    verdict = gate(degraded(old, method, metric, count), old)[metric]
    assert verdict.baseline is not None
    assert verdict.value is not None
    assert verdict.baseline - verdict.value == pytest.approx(count / len(graded))
    assert verdict.verdict == "inconclusive", verdict.reason
    assert outcome([verdict]).status == "not decided"


@pytest.mark.parametrize("method", VARIANTS)
def test_the_unchanged_checkpoint_passes(method: str) -> None:
    verdicts = gate(renamed(read_case(method, "seed0"), "again"), read_case(method, "seed0"))
    assert {result.verdict for result in verdicts.values()} == {"pass"}


def test_the_margin_of_a_speed_lies_above_what_trials_differ_by() -> None:
    rule = load_gates()["generation_tokens_per_s"]
    reasons = re.search(r"differ by up to (\d+)%", rule.reason)
    assert reasons is not None
    run = read_run(ROOT / "results" / "smollm2-mini")
    assert not run.results.run.contended
    for variant in run.variants:
        speeds = [row.generation_tokens_per_s for row in run.trials(variant) or []]
        assert max(speeds) / min(speeds) - 1 <= int(reasons[1]) / 100 + 0.005 < rule.relative


def bench(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Loss and execution of one smollm2 variant, the project's own cache."""
    command = [sys.executable, "-m", "pytest", "suites/test_loss.py", "suites/test_execution.py"]
    command += ["suites/test_gates.py", f"--results-dir={folder / 'runs'}", f"--run-name={name}"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def results(folder: Path, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "runs" / name / "results.json").read_text("utf-8"))
    return value


@pytest.mark.slow
@pytest.mark.parametrize("method", VARIANTS)
def test_retrained_and_damaged_now_it_is_the_same(method: str, tmp_path: Path) -> None:
    """About a quarter of an hour a method on two cores: three trainings and five evaluations."""
    variant = f"--variant={method}"
    base = bench(tmp_path, "seed0", variant, "--seed=0")
    assert base.returncode == 0, base.stdout + base.stderr
    adapter = Path(results(tmp_path, "seed0")["variants"][method]["adapter"]["path"]).expanduser()
    gates = tmp_path / "quality.toml"
    shipped = (ROOT / "fixtures" / "gates.toml").read_text("utf-8")
    # Loss and execution only are measured, so only their gates are used.
    gates.write_text(shipped.partition("[generation_tokens_per_s]")[0], "utf-8")
    against = [f"--baseline={tmp_path / 'runs' / 'seed0'}", f"--gates={gates}", variant]
    damaged = {
        "noise": f"--adapter-path={noisy(adapter, tmp_path / 'noise')}",
        "scale": f"--adapter-path={rescaled(adapter, tmp_path / 'scale')}",
    }
    for name, option in damaged.items():
        done = bench(tmp_path, name, option, *against)
        assert done.returncode == 1, done.stdout + done.stderr
        reasons = f"FAILED suites/test_gates.py::test_no_regression[{method}-completion_loss]"
        assert reasons in done.stdout
        assert "beyond the margin and beyond noise" in done.stdout
    done = bench(tmp_path, "quarter", "--seed=0", "--set", "iters=10", *against)
    assert done.returncode == 1, done.stdout + done.stderr
    done = bench(tmp_path, "seed1", "--seed=1", *against)
    assert done.returncode == 0, done.stdout + done.stderr
