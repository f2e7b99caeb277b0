"""The commands: one JSON object under --json, one message and status 2 for a user's mistake."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.backend import backend_name
from harness.data.sources.resolve import MINI_FOLDER, WIKISQL_ENTRY
from harness.disk.cache import Cache
from tests import forks
from tools.gpu_checks import MISTRAL as SHAPE

ROOT = Path(__file__).resolve().parents[2]


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m harness ...` as a user runs it."""
    return forks.run("-m", "harness", *arguments)


def test_describe_counts_mini() -> None:
    done = harness("describe", "mini", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [split["examples"] for split in printed["splits"]] == [1000, 60, 200]
    assert printed["leakage"] == {"shared_tables": 0, "shared_questions": 0}
    assert all(gold["failing"] == 0 for gold in printed["gold"].values())


MISTRAL = SHAPE | {"model_type": "mistral", "torch_dtype": "bfloat16"}


def test_params_reproduces_the_published_table(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MISTRAL))
    variants = "article/lora,article/qlora"
    done = harness("params", "--model", str(tmp_path), "--variant", variants, "--json")
    assert done.returncode == 0, done.stderr
    printed = {one["variant"]: one for one in json.loads(done.stdout)["params"]}
    for one in printed.values():
        assert set(one) == {"model", "variant", "parameters", "sizes"}
    lora = printed["article/lora"]["parameters"]
    assert (lora["trainable"], lora["total"]) == (1_703_936, 7_243_436_032)
    assert round(lora["per_ten_thousand"], 2) == 2.35
    qlora = printed["article/qlora"]["parameters"]
    assert qlora["packed_total"] == 1_244_041_216
    assert round(qlora["packed_per_ten_thousand"], 2) == 13.70
    assert round(qlora["per_ten_thousand"], 2) == 2.35


def test_plan_says_what_fits_before_anything_is_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MISTRAL))
    arguments = ("plan", "--model", str(tmp_path), "--variant", "qlora", "--backend", "metal")
    done = harness(*arguments, "--memory", "16", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["memory_bytes"] == 16 * 2**30 * 2 // 3
    assert printed["measured"] is False
    loads = {(one["batch_size"], one["length"]): one for one in printed["training"]}
    assert loads[1, 128]["fits"]
    assert not loads[8, 2048]["fits"]
    known = loads[1, 128]["train_s"] is not None  # another machine's speed is not known
    assert known == (backend_name() == "metal")
    peaks = [one["peak_bytes"] for one in printed["answering"]]
    assert peaks == sorted(peaks)
    assert printed["disk"]["base_bytes"] == pytest.approx(4.08e9, rel=0.01)
    shown = harness(*arguments, "--memory", "16").stdout
    assert "computed, not measured" in shown
    assert "fusing: " in shown


@pytest.mark.slow
def test_plan_takes_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MISTRAL))
    arguments = ("plan", "--model", str(tmp_path), "--variant", "qlora", "--memory", "16", "--json")
    done = harness(*arguments, "--backend", "metal", "--sweep", "lora_parameters.rank=4,8")
    plans = json.loads(done.stdout)["plans"]
    assert [plan["variant"] for plan in plans] == ["qlora-rank4", "qlora-rank8"]
    states = [plan["disk"]["training_bytes"] for plan in plans]
    assert states[0] < states[1]


def test_export_writes_what_mlx_lm_reads(tmp_path: Path) -> None:
    out = str(tmp_path / "text")
    done = harness("export", "--dataset", "mini", "--model", "tiny", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert "--test" in printed["command"]
    rows = (tmp_path / "text" / "test.jsonl").read_text("utf-8").splitlines()
    assert len(rows) == 200
    assert set(json.loads(rows[0])) == {"text"}


@pytest.mark.parametrize("name", ["mini", "wikisql"])
def test_score_takes_a_dataset_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Cache(tmp_path / "tunebench").build(
        *WIKISQL_ENTRY,
        lambda folder: shutil.copytree(MINI_FOLDER, folder, dirs_exist_ok=True) and None,
    )
    lines = (json.dumps({"id": number, "error": "none"}) + "\n" for number in range(60))
    (tmp_path / "p").write_text("".join(lines))
    options = ("--split=valid", f"--predictions={tmp_path / 'p'}", f"--out={tmp_path / 'o'}")
    done = harness("score", f"--dataset={name}", *options, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 60


def test_the_cache_can_be_listed_and_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert harness("export", "--model", "tiny", "--out", str(tmp_path / "x")).returncode == 0
    listed = json.loads(harness("cache", "list", "--json").stdout)
    assert any(entry["kind"] == "models" for entry in listed["entries"])
    pruned = json.loads(harness("cache", "prune", "--json").stdout)
    assert pruned == {"removed": 0, "leftovers": 0, "bytes": 0}
    assert json.loads(harness("cache", "list", "--json").stdout)["entries"] == listed["entries"]
    pruned = json.loads(harness("cache", "prune", "--older-than-days=0", "--json").stdout)
    assert pruned["removed"] == len(listed["entries"])
    assert json.loads(harness("cache", "list", "--json").stdout)["entries"] == []


def test_doctor_names_the_blas_and_its_speed() -> None:
    done = harness("doctor", "--json")
    printed = json.loads(done.stdout)
    assert printed["device"]["backend"] in ("cpu", "metal", "cuda")
    if printed["device"]["backend"] == "cpu":
        assert printed["blas"]["gflops"] > 0
    else:
        assert "GFLOP/s" in printed["checks"][0]["found"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "mni"], "mini"),
        (["describe", "nowhere/data"], "nowhere/data"),
        (["describe", "x" * 300], "File name too long"),
        (["describe", "~nobody-of-this-name/data"], "~nobody-of-this-name/data does not exist"),
        (["params", "--model", "~nobody-of-this-name", "--variant", "lora"], "unknown model"),
        (["params", "--model", "tiny", "--variant", "lor"], "lora"),
        (["params", "--model", "smolm2", "--variant", "lora"], "smollm2"),
        (["report", "nowhere"], "nowhere"),
        (["compare", "nowhere", "elsewhere"], "nowhere"),
        (["gate", "nowhere", "--baseline", "elsewhere"], "nowhere"),
        (["fetch", "wikisq"], "wikisql"),
        (["score", "--split", "test"], "--dataset"),
        (["export", "--model", "no/such-model", "--out", "/proc/none/x"], "--out /proc/none/x"),
        (["score", "--dataset=mni", "--split=test", "--predictions=x", "--out=y"], "mini"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(arguments: list[str], message: str) -> None:
    done = harness(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
