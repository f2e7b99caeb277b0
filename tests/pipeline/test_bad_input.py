"""Bad input: one clear message before any model is loaded, nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.data.sources.resolve import resolve_dataset
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.resolve import resolve
from harness.pipeline.adapter_path import (
    check_unchanged,
    given_adapter,
    named_by,
    other_base,
    variant_from_adapter,
)
from harness.schema.stage_results import DESCRIBE, OPEN, Nothing, OpenRequest
from harness.train.variants import load_variants
from harness.worker.client import Worker
from tests import forks

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "fixtures" / "mini"


def shallow(model: Path) -> tuple[str, ...]:
    """Options of a run on a two-layer model of tiny's kind."""
    return (f"--model={model}", "--set", "num_layers=2")


def suites(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command on `tiny`, one cheap suite, results and cache in ``folder``."""
    return forks.run(
        *("-m", "pytest", "suites/test_loss.py", "--variant=lora", "--set", "iters=2"),
        *forks.last_of_each(
            "--model=tiny", "--limit=4", f"--results-dir={folder / 'runs'}", *arguments
        ),
        environment={"XDG_CACHE_HOME": str(folder / "cache")},
    )


def damaged_mini(folder: Path) -> Path:
    """A copy of mini whose third test line is no JSON."""
    copy = folder / "damaged"
    shutil.copytree(MINI, copy)
    lines = (copy / "test.jsonl").read_text("utf-8").splitlines()
    lines[2] = lines[2][:-5]
    (copy / "test.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return copy


def empty_valid(folder: Path) -> Path:
    """A copy of mini without a validation example."""
    copy = folder / "empty"
    shutil.copytree(MINI, copy)
    (copy / "valid.jsonl").write_text("")
    return copy


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(
            ["--model=nowhere/at-all/model"], "nowhere/at-all/model", marks=pytest.mark.slow
        ),
        (["--model=tinny"], "Did you mean 'tiny'?"),
        (["--dataset=mnii"], "mini"),
        (["--dataset=./no/such/folder"], "no/such/folder"),
        (["--adapter-path=no/such/adapter"], "no/such/adapter"),
        (["--set", "num_layers=99"], "99"),
        (["--variant=full", "--set", "quantize.bits=4"], "full"),
    ],
)
def test_a_wrong_name_ends_before_anything_is_loaded(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    done = suites(tmp_path, *arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_damaged_dataset_names_file_and_line(tmp_path: Path) -> None:
    done = suites(tmp_path, f"--dataset={damaged_mini(tmp_path)}")
    assert done.returncode == 4
    assert "test.jsonl:3" in done.stderr


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    done = suites(tmp_path, f"--dataset={empty_valid(tmp_path)}")
    assert done.returncode == 4
    assert "valid.jsonl" in done.stderr


def written_adapter(folder: Path, layer: str, width: int, **config: object) -> Path:
    """An adapter folder with one LoRA matrix of ``width`` inputs at ``layer``."""
    adapter = folder / "adapter"
    adapter.mkdir()
    name = f"model.layers.{layer}.self_attn.q_proj"
    save_file(
        {
            f"{name}.lora_a": np.zeros((width, 8), np.float32),
            "model.layers.77.self_attn.q_proj.lora_b": np.zeros((8, 64), np.float32),
        },
        adapter / "adapters.safetensors",
    )
    settings = {
        "fine_tune_type": "lora",
        "num_layers": 16,
        "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.0},
    }
    (adapter / "adapter_config.json").write_text(json.dumps(settings | config))
    return adapter


def test_an_adapter_of_another_base_is_refused_with_every_mismatch(tmp_path: Path) -> None:
    done = suites(tmp_path, f"--adapter-path={written_adapter(tmp_path, '0', 999)}")
    assert done.returncode == 4
    assert "999" in done.stderr
    assert "layers.77" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_adapter_of_another_method_or_with_overrides_is_refused(tmp_path: Path) -> None:
    adapter = written_adapter(tmp_path, "0", 64)
    done = suites(tmp_path, f"--adapter-path={adapter}", "--set", "lora_parameters.rank=32")
    assert done.returncode == 4
    assert "the adapter decides" in done.stderr
    with pytest.raises(UserError, match="is a lora adapter, variant 'dora' is dora"):
        variant_from_adapter(load_variants(["dora"])[0], adapter)


def test_an_adapter_on_a_base_of_other_bits_is_said(tmp_path: Path) -> None:
    adapter = written_adapter(tmp_path, "0", 64, quantize=None)
    assert other_base(load_variants(["lora"])[0], adapter) == ""
    reason = other_base(load_variants(["qlora"])[0], adapter)
    assert "trained on a base not quantized, variant 'qlora' puts it on one of 4 bits" in reason


@pytest.mark.parametrize("odd", [4, "4", [4]])
def test_odd_values_in_an_adapters_configuration_are_no_traceback(
    tmp_path: Path, odd: object
) -> None:
    adapter = written_adapter(tmp_path, "0", 64, quantize=odd, iters=odd)
    assert "trained on a base quantized to" in other_base(load_variants(["lora"])[0], adapter)
    assert given_adapter(adapter).iterations == (4 if odd == 4 else None)


@pytest.mark.slow
def test_one_error_is_reported_in_full_once(tmp_path: Path, two_layers: Path) -> None:
    done = suites(
        tmp_path, *shallow(two_layers), "suites/test_execution.py", "--set", "max_seq_length=64"
    )
    assert done.returncode == 1
    assert done.stdout.count("as shown above") >= 2
    assert done.stdout.count("During handling") == 0
    assert "Traceback" not in done.stdout + done.stderr


def test_two_variants_of_one_file_name_are_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "article__lora.yaml"
    file.write_text("fine_tune_type: lora\n")
    done = suites(tmp_path, "--variant=article/lora", f"--variant={file}")
    assert done.returncode == 4
    assert "would both be stored as 'article__lora'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--run-name", "x" * 300], "300 bytes, 200 are allowed"),
        (["--run-name=fused", "--keep-fused"], "kept for fused models"),
        (["--seed=0,1"], "several are --seeds 0,1"),
    ],
)
def test_what_would_lose_the_run_at_its_end_is_refused_at_its_start(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    done = suites(tmp_path, *arguments)
    assert done.returncode == 4, done.stdout
    assert reason in done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr


@pytest.mark.slow
def test_under_xdist_every_test_says_why_it_does_not_run(tmp_path: Path) -> None:
    done = suites(tmp_path, "-n", "1")
    assert done.returncode == 1
    assert "run it without -n" in done.stdout
    assert "INTERNALERROR" not in done.stdout


@pytest.mark.slow
def test_a_prompt_longer_than_the_context_is_named(tmp_path: Path, two_layers: Path) -> None:
    done = suites(tmp_path, *shallow(two_layers), "--set", "max_seq_length=64")
    assert done.returncode == 1
    assert "max_seq_length" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_caches_nothing(
    tmp_path: Path, two_layers: Path
) -> None:
    done = suites(tmp_path, *shallow(two_layers), "--set", "learning_rate=1e30", "--set", "iters=6")
    assert done.returncode == 1
    assert "diverged" in done.stdout
    assert "learning_rate" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((tmp_path / "cache").glob("tunebench/finetune/*/adapters.safetensors"))


@pytest.mark.slow
def test_data_or_a_model_changed_after_the_command_was_given_is_refused(tmp_path: Path) -> None:
    """Else its results would lie in the cache under the name of what it was before."""
    data = tmp_path / "data"
    shutil.copytree(MINI, data)
    cache = Cache(tmp_path / "cache")
    opened = {"model": "tiny", "variant": {"name": "base", "fine_tune_type": "base"}}
    opened |= {"dataset": str(data), "prompt_style": "dialect", "cache_root": str(cache.root)}
    before = {
        "dataset": resolve_dataset(str(data)).sha256,
        "model": resolve("tiny", cache).sha256,
    }
    with closing(Worker("x")) as worker:
        worker.call(OPEN, OpenRequest.model_validate({**opened, "expected": before}))
        lines = (data / "test.jsonl").read_text().splitlines(keepends=True)
        (data / "test.jsonl").write_text("".join(reversed(lines)))
        with pytest.raises(UserError, match="dataset 'data' was changed after the command"):
            worker.call(OPEN, OpenRequest.model_validate({**opened, "expected": before}))
        other = {**opened, "expected": {"model": "0" * 64}}
        with pytest.raises(UserError, match="model 'tiny' was changed after the command"):
            worker.call(OPEN, OpenRequest.model_validate(other))


def test_a_given_adapter_that_changes_while_it_is_measured_is_refused(tmp_path: Path) -> None:
    source = given_adapter(written_adapter(tmp_path, "0", 64))
    check_unchanged(source)
    check_unchanged(None)
    file = tmp_path / "adapter" / "adapters.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="was changed after the command was given"):
        check_unchanged(source)


@pytest.mark.slow
def test_a_model_that_is_removed_while_it_is_used_is_named(tmp_path: Path) -> None:
    opened = {"model": "tiny", "variant": {"name": "base", "fine_tune_type": "base"}}
    opened |= {"dataset": "mini", "prompt_style": "dialect", "cache_root": str(tmp_path)}
    with closing(Worker("x")) as worker:
        worker.call(OPEN, OpenRequest.model_validate(opened))
        shutil.rmtree(tmp_path / "models" / "tiny-2")
        gone = r"describe: removed while it was used: No such file or directory: .*tiny-2"
        with pytest.raises(UserError, match=gone):
            worker.call(DESCRIBE, Nothing())


def test_a_variant_that_keeps_a_source_is_refused_where_there_is_none(tmp_path: Path) -> None:
    done = suites(tmp_path, "--variant=qlora-source")
    assert done.returncode == 4
    assert "variant 'qlora-source': quantize: source keeps the bits" in done.stderr
    assert "model 'tiny' has no low-bit source" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_paths_of_an_adapter_are_relative_to_where_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlx_lm.lora --model ./base --data data --adapter-path out/mine`, then asked from a clone."""
    adapter = tmp_path / "project" / "out" / "mine"
    adapter.mkdir(parents=True)
    for name in ("base", "data"):
        (tmp_path / "project" / name).mkdir()
    lora = {"rank": 8, "scale": 20.0, "dropout": 0.0}
    config = {"num_layers": 2, "lora_parameters": lora, "model": "./base", "data": "data"}

    def names(**more: str) -> tuple[str, str]:
        (adapter / "adapter_config.json").write_text(json.dumps(config | more))
        return named_by(adapter, "model"), named_by(adapter, "data")

    there = tuple(str(tmp_path / "project" / name) for name in ("base", "data"))
    assert names(adapter_path="out/mine") == names(adapter_path="./out/mine") == there
    assert names(adapter_path="out/mine", model="tiny") == ("tiny", there[1])
    assert names() == names(adapter_path="other") == names(adapter_path=str(adapter))
    assert names() == ("./base", "data")
    monkeypatch.chdir(tmp_path / "project")
    assert names(adapter_path="out/mine") == ("./base", "data")
