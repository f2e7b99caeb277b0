"""The documented command on a two-layer model: trains, measures, writes, finds it all cached."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.disk.files import sha256_file
from harness.runs.store import read_run
from tests import forks

ROOT = Path(__file__).resolve().parents[2]

SAME = ("--set", "save_every=2", "--set", "steps_per_eval=2")
"""The settings of the first run: with them, its fine-tuning is found in the cache."""


@dataclass(frozen=True)
class Bench:
    """A cache and a results folder of their own, and the command that uses them."""

    folder: Path
    model: Path
    costs: dict[str, float] = field(default_factory=dict)
    """Seconds of processor time of a run and its children, by name."""

    @property
    def environment(self) -> dict[str, str]:
        return {"XDG_CACHE_HOME": str(self.folder / "cache")}

    @property
    def tuned(self) -> tuple[str, ...]:
        """The model, and a fine-tuning of all its layers cut short."""
        return (*self.short, "--set", "num_layers=2")

    @property
    def short(self) -> tuple[str, ...]:
        """The model, few iterations and short answers."""
        return (f"--model={self.model}", "--set", "iters=4", "--max-new-tokens=16")

    def run(
        self, name: str, *arguments: str, given: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """`pytest suites/ --model=... --limit 8 --set iters=4 ...`."""
        return forks.run(
            *("-m", "pytest", "suites/"),
            # An adapter that is given decides how many layers it adapts.
            *(self.short if given else self.tuned),
            *forks.last_of_each(
                *("--limit=8", f"--results-dir={self.folder / 'runs'}", f"--run-name={name}"),
                *arguments,
            ),
            environment=self.environment,
        )

    def results(self, name: str) -> dict[str, Any]:
        """A run's results.json."""
        text = (self.folder / "runs" / name / "results.json").read_text("utf-8")
        value: dict[str, Any] = json.loads(text)
        return value


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, two_layers: Path) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), two_layers)


@pytest.fixture(scope="module")
def first(bench: Bench) -> dict[str, Any]:
    """One cold run of lora and qlora with every checkpoint; the other tests build on its cache."""
    before = forks.cpu_s()
    done = bench.run(
        "first",
        "--variant=lora,qlora",
        "--checkpoints=all",
        *SAME,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results:" in done.stdout
    assert "try it: mlx_lm.generate --model" in done.stdout
    (copied,) = re.findall(r"a copy of it: tunebench (adapter .*)", done.stdout)
    place, out = f"{bench.folder}/runs/first:", f"{bench.folder}/copied"
    words = shlex.split(copied)
    assert (words[1].removeprefix(place), words[3]) in {
        ("lora", "lora-adapter"),
        ("qlora", "qlora-adapter"),
    }
    made = forks.run("-m", "harness", *words[:3], out, environment=bench.environment)
    assert made.returncode == 0, made.stderr
    bench.costs["first"] = forks.cpu_s() - before
    return bench.results("first")


def test_every_section_is_there_and_nothing_is_partial(first: dict[str, Any]) -> None:
    assert first["run"]["partial"] == []
    assert list(first["variants"]) == ["lora", "qlora"]
    for variant in first["variants"].values():
        absent = [name for name, section in variant.items() if section is None]
        assert absent == ["exact_match"], "of data without tables alone"


def test_the_curve_starts_at_the_base_and_ends_at_the_last(first: dict[str, Any]) -> None:
    for variant in first["variants"].values():
        curve = variant["finetune"]["curve"]
        assert [p["iteration"] for p in curve if p["val_loss"] is not None] == [0, 2, 4]
        assert curve[0]["train_loss"] is None


def test_the_record_says_how_timings_were_interleaved(first: dict[str, Any]) -> None:
    for variant in first["variants"].values():
        assert variant["throughput"]["interleaving"] in ("all loaded", "reloaded each round")


def test_each_speed_is_recomputed_from_the_stored_trials(
    bench: Bench, first: dict[str, Any]
) -> None:
    for name, variant in first["variants"].items():
        lines = (bench.folder / "runs" / "first" / f"trials.{name}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        stored = variant["throughput"]
        assert stored["trials"] == len(rows)
        medians = ("prompt_tokens_per_s", "generation_tokens_per_s", "ttft_s")
        for key in (*medians, "batched_tokens_per_s"):
            assert stored[key] == statistics.median(row[key] for row in rows), key
        gaps = [gap for row in rows for gap in row["inter_token_s"]]
        assert stored["inter_token_p50_s"] == pytest.approx(np.quantile(gaps, 0.5))
        assert stored["inter_token_p95_s"] == pytest.approx(np.quantile(gaps, 0.95))
        for row in rows:
            assert row["generation_tokens_per_s"] == pytest.approx(
                len(row["inter_token_s"]) / sum(row["inter_token_s"])
            )


def test_limited_runs_say_n_of_m(first: dict[str, Any]) -> None:
    execution = first["variants"]["lora"]["execution"]
    assert (execution["n"], execution["of"]) == (8, 200)


def test_the_last_checkpoint_is_the_adapter(first: dict[str, Any]) -> None:
    for variant in first["variants"].values():
        assert [c["iteration"] for c in variant["checkpoints"]] == [2, 4]
        last = variant["checkpoints"][-1]
        assert last["loss"] == pytest.approx(variant["loss"]["full_text"]["loss"])


def test_variants_are_compared_on_the_primary_family(first: dict[str, Any]) -> None:
    metrics = {c["metric"] for c in first["comparisons"]}
    assert metrics == {"completion_loss", "ex", "ex_hardened"}


def test_the_files_of_a_run(bench: Bench, first: dict[str, Any]) -> None:
    folder = bench.folder / "runs" / "first"
    names = {path.name for path in folder.iterdir()}
    assert {"results.json", "report.md", "loss.svg", "accuracy.svg"} <= names
    for variant in ("lora", "qlora"):
        rows = read_run(folder).predictions(variant)
        assert rows is not None
        assert len(rows) == 8


def test_the_same_command_again_trains_and_times_nothing(
    bench: Bench, first: dict[str, Any]
) -> None:
    before = forks.cpu_s()
    done = bench.run(
        "again",
        "--variant=lora,qlora",
        "--checkpoints=all",
        *SAME,
    )
    took_s = forks.cpu_s() - before
    assert done.returncode == 0, done.stdout + done.stderr
    again = bench.results("again")
    for name, variant in again["variants"].items():
        assert variant["adapter"]["source"] == "cached"
        assert variant["throughput"]["cached"] is True
        assert variant["loss"] == first["variants"][name]["loss"]
        assert variant["execution"] == first["variants"][name]["execution"]
        assert variant["throughput"]["trials"] == first["variants"][name]["throughput"]["trials"]
    # Most of the first run's processor time was training, answering and timing.
    assert took_s < bench.costs["first"] / 2


def test_an_existing_run_name_is_refused_before_anything_is_loaded(
    bench: Bench, first: dict[str, Any]
) -> None:
    done = bench.run("first", "--variant=lora")
    assert done.returncode == 4
    assert "exists already" in done.stderr


def test_a_given_adapter_is_evaluated_and_gated(bench: Bench, first: dict[str, Any]) -> None:
    adapter = first["variants"]["lora"]["adapter"]["path"]
    done = bench.run(
        "given",
        "--variant=lora",
        f"--adapter-path={adapter}",
        f"--baseline={bench.folder / 'runs' / 'first' / 'results.json'}",
        given=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    given = bench.results("given")
    variant = given["variants"]["lora"]
    assert variant["adapter"]["source"] == "given"
    assert variant["finetune"] is None
    assert variant["loss"] == first["variants"]["lora"]["loss"]
    verdicts = {gate["metric"]: gate["verdict"] for gate in given["gates"]}
    assert verdicts
    assert "fail" not in verdicts.values()


@pytest.mark.slow
def test_adapters_alone_stand_beside_their_bases(bench: Bench, first: dict[str, Any]) -> None:
    lora, qlora = (Path(first["variants"][name]["adapter"]["path"]) for name in ("lora", "qlora"))
    mine = bench.folder / "yesterday"  # as `mlx_lm.lora` leaves it
    mine.mkdir()
    for file in ("adapters.safetensors", "adapter_config.json"):
        shutil.copy(lora / file, mine)
    earlier = lora / "checkpoints" / "0000002" / "adapters.safetensors"
    shutil.copy(earlier, mine / "0000002_adapters.safetensors")
    done = forks.run(
        *("-m", "pytest", "suites/test_loss.py", "suites/test_checkpoints.py", "--limit=8"),
        *(f"--adapter-path={mine}", f"--adapter-path=q={qlora}", "--checkpoints=all"),
        *(f"--results-dir={bench.folder / 'runs'}", "--run-name=alone"),
        f"--junitxml={bench.folder / 'junit.xml'}",
        environment=bench.environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"model '{bench.model}' is named by {mine}" in done.stderr
    assert "record_property" not in done.stdout  # xunit2 has no place for it, and warns
    found = bench.results("alone")["variants"]
    assert list(found) == ["base", "base-of-q", "yesterday", "q"]
    assert [found[name]["adapter"] for name in ("base", "base-of-q")] == [None, None]
    for name, trained in (("yesterday", "lora"), ("q", "qlora")):
        assert found[name]["adapter"]["source"] == "given"
        assert found[name]["loss"] == first["variants"][trained]["loss"]
    assert found["yesterday"]["checkpoints"] == first["variants"]["lora"]["checkpoints"]
    quantize = {name: found[name]["config"]["quantize"] for name in found}
    assert quantize["base"] is quantize["yesterday"] is None
    assert (
        quantize["base-of-q"] == quantize["q"] == first["variants"]["qlora"]["config"]["quantize"]
    )


def test_a_trained_adapter_is_copied_with_the_command_that_tries_it(
    bench: Bench, first: dict[str, Any]
) -> None:
    def adapter(*arguments: str) -> dict[str, Any]:
        run = f"{bench.folder / 'runs' / 'first'}:qlora"
        done = forks.run(
            *("-m", "harness", "adapter", run, *arguments, "--json"),
            environment=bench.environment,
        )
        return json.loads(done.stdout) if done.returncode == 0 else {"said": done.stderr}

    qlora = first["variants"]["qlora"]
    out = bench.folder / "mine"
    copied = adapter(f"--out={out}")
    assert copied["iteration"] == 4
    assert sha256_file(out / "adapters.safetensors") == qlora["adapter"]["sha256"]
    model = Path(copied["command"].split()[2])
    assert json.loads((model / "config.json").read_text())["quantization"]["bits"] == 4
    assert f"--adapter-path {out}" in copied["command"]
    assert "is not an empty folder" in adapter(f"--out={out}")["said"]
    best = adapter(f"--out={bench.folder / 'best'}", "--best")
    losses = {c["iteration"]: c["ex"] for c in qlora["checkpoints"]}
    assert losses[best["iteration"]] == max(losses.values())


def test_a_baseline_of_another_setting_is_refused_before_the_work(
    bench: Bench, first: dict[str, Any]
) -> None:
    baseline = f"--baseline={bench.folder / 'runs' / 'first' / 'results.json'}"
    done = bench.run("unlike", "--variant=lora", "--prompt-style=sql", baseline)
    assert done.returncode == 4
    assert "protocols.loss" in done.stderr
    done = bench.run("unlike", "--variant=lora", "--limit=7", baseline)
    assert done.returncode == 4
    assert "'8 of 200, seed 0' against '7 of 200, seed 0'" in done.stderr
    done = bench.run("unlike", "--variant=lora", "--seed=1", baseline)  # draws eight others
    assert done.returncode == 4
    assert "'8 of 200, seed 0' against '8 of 200, seed 1'" in done.stderr
    assert "--seed of a limit" in done.stderr


def test_a_results_folder_that_cannot_be_written_is_refused_first(bench: Bench) -> None:
    file = bench.folder / "a-file"
    file.write_text("")
    done = bench.run("x", "--variant=lora", f"--results-dir={file / 'runs'}")
    assert done.returncode == 4
    assert "--results-dir" in done.stderr


@pytest.mark.slow
def test_remeasure_takes_only_the_timings_again(bench: Bench, first: dict[str, Any]) -> None:
    done = bench.run("remeasured", "--variant=lora,qlora", "--remeasure", *SAME, "-k", "throughput")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, variant in bench.results("remeasured")["variants"].items():
        assert variant["adapter"]["source"] == "cached"
        assert variant["throughput"]["cached"] is False
        then = first["variants"][name]["throughput"]["measured_at"]
        assert variant["throughput"]["measured_at"] != then


@pytest.mark.slow
def test_keep_fused_leaves_models_that_load(bench: Bench, first: dict[str, Any]) -> None:
    done = bench.run("kept", "--variant=lora,qlora", "--keep-fused", *SAME, "-k", "fuse")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = bench.folder / "runs" / "fused" / "kept"
    for form in ("lora/fused", "qlora/fused", "qlora/plain"):
        assert (folder / form / "config.json").is_file()
        assert list((folder / form).glob("*.safetensors"))
    # Of a base that is not quantized the fused form is the dequantized one.
    assert not (folder / "lora" / "plain").exists()


@pytest.mark.slow
def test_bless_makes_the_run_the_baseline_and_keeps_the_old_one(
    bench: Bench, first: dict[str, Any]
) -> None:
    place = bench.folder / "baseline"
    for name in ("blessed", "blessed-again"):
        done = bench.run(
            name, "--variant=lora", *SAME, f"--baseline={place / 'results.json'}", "--bless"
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert read_run(place).id == "blessed-again"
    assert read_run(place.with_name("baseline.before-blessed-again")).id == "blessed"


@pytest.mark.slow
def test_the_readme_s_own_suite_runs(bench: Bench, first: dict[str, Any], tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    # An untrained model cannot count: the test is about the fixtures, not about its score.
    suite = tmp_path / "test_mine.py"
    suite.write_text(code.replace(">= 0.2", ">= 0.0").replace("> 5", "> 0"))
    command = ["-m", "pytest", str(suite), "-c", str(ROOT / "pyproject.toml")]
    command += ["-p", "harness.plugin", f"--rootdir={ROOT}", *bench.tuned, "--limit=8"]
    command += ["--variant=lora,qlora", *SAME]
    command += [f"--results-dir={bench.folder / 'runs'}", "--run-name=mine"]
    done = forks.run(*command, environment=bench.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_unselected_suites_are_null_and_listed(bench: Bench, first: dict[str, Any]) -> None:
    done = bench.run(
        "loss-only",
        "--variant=lora",
        "-k",
        "test_loss_on_the_completion",
        *SAME,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    only = bench.results("loss-only")
    assert "execution" in only["run"]["partial"]
    assert "loss" not in only["run"]["partial"]
    assert only["variants"]["lora"]["execution"] is None


@pytest.mark.slow
def test_two_seeds_give_two_runs_and_a_summary(bench: Bench, first: dict[str, Any]) -> None:
    done = bench.run("seeds", "--variant=lora", "--seeds=0,1", "-k", "loss or execution")
    assert done.returncode == 0, done.stdout + done.stderr
    losses = [
        bench.results(f"seeds-seed{seed}")["variants"]["lora"]["loss"]["completion"]["loss"]
        for seed in (0, 1)
    ]
    assert losses[0] != losses[1]
    summary = (bench.folder / "runs" / "seeds-seeds.md").read_text("utf-8")
    for loss in losses:
        assert f"{loss:.3f}" in summary
