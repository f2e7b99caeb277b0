"""`plan` and `params` on the command line: another machine's memory, --set, what a run refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.backend import backend_name
from harness.schema.stage_results import DeviceMemory
from harness.train.estimate import working_set
from harness.train.plan import Load, Plan, _largest

GIB = 2**30
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "vocab_size": 512,
    "torch_dtype": "bfloat16",
}
PACKED = LLAMA | {"quantization": {"bits": 4, "group_size": 64}}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """A command of a model's configuration: its status, output and message."""

    def command(config: dict[str, Any], *arguments: str) -> tuple[int, str, str]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setattr("sys.argv", ["tunebench", *arguments, "--model", str(tmp_path)])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return command


@pytest.mark.parametrize("memory", ["nan", "inf", "-5", "0", "1e300"])
def test_a_memory_that_cannot_be_is_refused(run: Any, memory: str) -> None:
    status, out, said = run(LLAMA, "plan", "--variant=lora", f"--memory={memory}")
    assert (status, out) == (2, "")
    assert said.startswith("tunebench: --memory ")
    assert "must be GB above 0, at most 1,000,000; try 16." in said


def test_a_card_that_is_not_here_has_the_memory_that_is_named(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = DeviceMemory(
        backend="cpu", free_bytes=GIB, held_bytes=0, total_bytes=GIB, host_bytes=GIB
    )
    monkeypatch.setattr("harness.models.device.device_memory", lambda: memory)
    asked = ("plan", "--variant=lora", "--set=num_layers=2", "--backend=cuda", "--json")
    status, out, said = run(LLAMA, *asked)
    assert (status, out) == (2, "")
    assert "no card is here. Name its memory, such as --memory 24." in said
    status, out, said = run(LLAMA, *asked, "--memory=24")
    assert (status, json.loads(out)["memory_bytes"]) == (0, 24 * GIB)


def test_the_working_set_is_what_macs_were_seen_to_give() -> None:
    assert working_set("metal", 16 * GIB) / 2**20 == pytest.approx(10_922.67, abs=0.01)
    assert working_set("metal", 36 * GIB) == 27 * GIB
    assert working_set("metal", 128 * GIB) == 96 * GIB
    assert working_set("cuda", 24 * GIB) == working_set("cpu", 24 * GIB) == 24 * GIB


@pytest.mark.parametrize(
    ("here", "asked", "bytes_"),
    [("cpu", "metal", 16 * GIB), ("metal", "cpu", 24 * GIB), ("metal", "metal", 15 * GIB)],
)
def test_another_backend_has_its_share_of_this_machine_s_memory(
    run: Any, monkeypatch: pytest.MonkeyPatch, here: str, asked: str, bytes_: int
) -> None:
    """A host of 24 GiB whose own backend may take all of it, or 15 GiB of it under Metal."""
    total = 24 * GIB if here == "cpu" else 15 * GIB
    memory = DeviceMemory(
        backend=here, free_bytes=total, held_bytes=0, total_bytes=total, host_bytes=24 * GIB
    )
    monkeypatch.setattr("harness.models.device.device_memory", lambda: memory)
    monkeypatch.setattr("harness.models.cpu.rule.memory_bytes", lambda: float(24 * GIB))
    status, out, said = run(LLAMA, "plan", "--variant=lora", "--set=num_layers=2",
                            f"--backend={asked}", "--json")  # fmt: skip
    assert status == 0, said
    assert json.loads(out)["memory_bytes"] == bytes_


@pytest.mark.slow
def test_a_plan_takes_set_as_a_run_does_and_refuses_as_it_does(run: Any) -> None:
    asked = ("plan", "--variant=qlora", "--memory=8")
    assert "Use --set num_layers=2, or -1 for all." in run(LLAMA, *asked)[2]
    status, out, _ = run(LLAMA, *asked, "--set=num_layers=2", f"--backend={backend_name()}")
    assert status == 0
    assert "training that fits: batch 8 up to 2048 tokens a row" in out
    fewer = ("--set=num_layers=2",)
    said = run(PACKED, "plan", "--variant=qlora-8bit", "--memory=8", *fewer)[2]
    assert "is already quantized (bits 4, group_size 64, mode affine)" in said
    assert run(PACKED, "params", "--variant=qlora-8bit", *fewer)[2] == said
    assert run(PACKED, *asked, *fewer)[0] == 0
    assert "is not KEY=VALUE; try --set" in run(LLAMA, *asked, "--set=num_layers")[2]
    both = run(LLAMA, *asked, "--set=num_layers=2", "--sweep=num_layers=1,2")[2]
    assert "--set and --sweep both give num_layers" in both


def test_the_largest_trainings_that_fit_are_said_in_words() -> None:
    fitting = {(1, 128), (2, 128), (8, 128), (1, 256), (2, 256), (1, 512), (2, 512), (1, 1024)}

    def said(fitting: set[tuple[int, int]]) -> str:
        loads = [
            Load(batch_size=batch, length=length, peak_bytes=1, fits=(batch, length) in fitting)
            for length in (128, 256, 512, 1024, 2048)
            for batch in (1, 2, 4, 8)
        ]
        return _largest(Plan.model_construct(training=loads))

    assert said(fitting) == (
        "training that fits: batch 8 up to 128 tokens a row, batch 2 up to 512 tokens a row, "
        "batch 1 up to 1024 tokens a row"
    )
    assert said(set()) == "training that fits: none of these"


@pytest.mark.slow
def test_several_variants_are_planned_and_counted(run: Any) -> None:
    several = ("--variant=lora,base", "--variant=qlora", "--set=num_layers=2", "--json")
    names = ["lora", "base", "qlora"]
    plans = json.loads(run(LLAMA, "plan", *several, "--memory=8")[1])["plans"]
    assert [plan["variant"] for plan in plans] == names
    assert [
        one["variant"] for one in json.loads(run(LLAMA, "params", *several)[1])["params"]
    ] == names


@pytest.mark.slow
def test_a_model_that_cannot_be_is_named(run: Any, tmp_path: Path) -> None:
    said = run(LLAMA | {"model_type": "lama"}, "plan", "--variant=lora")[2]
    assert f"model '{tmp_path}': unknown architecture 'lama'. Did you mean 'llama'?" in said
    allowed = said.partition("Allowed: ")[2].rstrip(". \n").split(", ")
    assert {"llama", "qwen3", "mistral", "solar_open"} <= set(allowed)
    assert not {"base", "cache", "rope_utils", "switch_layers", "ssm"} & set(allowed)
    assert (
        "unknown architecture 'cache'"
        in run({"model_type": "cache"}, "params", "--variant=lora")[2]
    )
    said = run(LLAMA | {"num_hidden_layers": -3}, "plan", "--variant=lora")[2]
    assert "num_hidden_layers is -3" in said
    assert "--set" not in said
