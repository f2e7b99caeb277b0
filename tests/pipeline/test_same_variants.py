"""A base that is quantized already makes `lora` and `qlora` one variant: measured once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.compare import gates
from harness.compare.thresholds import load_gates
from harness.disk.cache import Cache
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import resolve
from harness.pipeline.same_variants import same_variants
from harness.report.warnings import warnings
from harness.runs.store import read_run
from harness.train.variants import load_variants, shipped
from tests import forks, two_layers

OPTIONS = ("--set", "num_layers=2", "--set", "iters=2", "--limit=4")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers that is quantized to 4 bits, as many on the hub are."""
    folder = tmp_path_factory.mktemp("packed")
    cache = Cache(folder / "cache")
    plain = resolve(str(two_layers.write(folder / "plain")), cache)
    return quantized(plain, QuantizeSpec(bits=4, group_size=64), cache).path


def suites(
    packed: Path, where: Path, name: str, *arguments: str, cache: str = "cache"
) -> tuple[int, str]:
    done = forks.run(
        *("-m", "pytest", "suites/test_loss.py", f"--model={packed}", *OPTIONS, *arguments),
        *(f"--results-dir={where / 'runs'}", f"--run-name={name}", "-rs"),
        environment={"XDG_CACHE_HOME": str(where / cache)},
    )
    return done.returncode, done.stdout + done.stderr


def named(*names: str, quantization: Any) -> dict[str, str]:
    base: Any = SimpleNamespace(quantization=quantization)
    return same_variants(load_variants(names), base, lambda _: None)


def test_what_differs_in_quantize_alone_is_one_on_a_quantized_base() -> None:
    names = ("qlora", "base", "lora", "dora", "article/lora", "qlora-source", "article/qlora")
    assert named(*names, quantization=None) == {}
    assert named(*names, quantization={"bits": 4, "group_size": 64}) == {
        "lora": "qlora", "qlora-source": "qlora", "article/qlora": "article/lora",
    }  # fmt: skip


@pytest.mark.slow
def test_the_pair_is_measured_once_and_both_names_find_it(packed: Path, tmp_path: Path) -> None:
    status, said = suites(packed, tmp_path, "both", "--variant=lora,qlora")
    assert status == 0, said
    assert "the base is quantized already, so qlora is lora here" in said
    assert "measured once, as lora" in said
    record = json.loads((tmp_path / "runs" / "both" / "results.json").read_text())
    assert list(record["variants"]) == ["lora"]
    assert record["same_as"] == {"qlora": "lora"}
    assert record["comparisons"] == []
    run = read_run(f"{tmp_path / 'runs' / 'both'}:qlora")
    assert run.variants == ["lora"]
    assert any("`qlora` is `lora` here" in line for line in warnings(run))

    # Under the other name it is the same adapter, from the cache, and the same variant to a gate.
    status, said = suites(packed, tmp_path, "one", "--variant=qlora")
    assert status == 0, said
    other = read_run(tmp_path / "runs" / "one")
    assert other.results.variants["qlora"].adapter is not None
    assert other.results.variants["qlora"].adapter.source == "cached"
    rules = {"completion_loss": load_gates()["completion_loss"]}
    both = read_run(tmp_path / "runs" / "both")
    for new, old in ((other, both), (both, other), (other, run)):
        verdict, *_ = gates.judge(new, old, rules, require_all=True)
        assert verdict.value == verdict.baseline
        assert "no variant" not in verdict.reason


@pytest.mark.slow
def test_all_is_all_that_the_base_can_have(packed: Path, tmp_path: Path) -> None:
    status, said = suites(packed, tmp_path, "all", "--variant=all")
    assert status == 0, said
    left_out = ("full", "qlora-8bit")
    for name in left_out:
        assert f"all leaves out {name}: " in said
    assert "fine_tune_type full needs a base that is not quantized" in said
    record = json.loads((tmp_path / "runs" / "all" / "results.json").read_text())
    assert {*record["variants"], *record["same_as"]} == {*shipped()}.difference(left_out)
    # What is named by its own name is refused.
    status, said = suites(packed, tmp_path, "named", "--variant=all,full")
    assert status == 4
    assert "variant 'full': fine_tune_type full needs a base that is not quantized" in said


def test_other_bits_are_refused_before_anything_is_loaded(packed: Path, tmp_path: Path) -> None:
    status, said = suites(packed, tmp_path, "other", "--variant=qlora-8bit")
    assert status == 4
    assert "is already quantized (bits 4, group_size 64, mode affine)" in said
