"""The benchmark and its commands as a Mac answers them: see shim/sitecustomize.py.

No Mac is at hand: these runs show that nothing asks Linux, that what is asked of macOS is
understood, and that Metal's paths are whole. Times and Metal's own numbers they cannot show.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backend import mx
from harness.data.prompts import style
from harness.data.sources.resolve import resolve_dataset
from tests.as_on_a_mac.mac import ODD, Mac

DISK = Path(__file__).with_name("folding_disk.py")


def bench(mac: Mac, *arguments: str) -> dict[str, Any]:
    """`pytest … --set iters=4`; its results.json."""
    runs = mac.folder / "Ergebnisse"
    options = ("--set", "iters=4", f"--results-dir={runs}", "--run-name=mac")
    done = mac.run("-m", "pytest", *arguments, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "caffeinate" in done.stderr + done.stdout
    names = [str(path.relative_to(mac.folder)) for path in mac.folder.rglob("*")]
    assert len({name.casefold() for name in names}) == len(names), "one file on a Mac's disk"
    found: dict[str, Any] = json.loads((runs / "mac" / "results.json").read_text("utf-8"))
    return found


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    (tmp_path / ODD).mkdir()
    return Mac(tmp_path / ODD)


@pytest.fixture
def folding(tmp_path: Path) -> Iterator[Path]:
    """A disk on which names that differ in case alone are one file."""
    stored, place = tmp_path / "stored", tmp_path / "disk"
    stored.mkdir()
    place.mkdir()
    command = [sys.executable, str(DISK), str(stored), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        if it.stdout.readline() != "mounted\n":
            reason = it.communicate()[1].strip().splitlines()[-1:]
            pytest.skip(f"a disk that ignores case needs Linux, root and FUSE: {reason}")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
            assert it.communicate(timeout=60) == ("", "")


def test_the_shim_is_seen_by_this_project_alone(mac: Mac) -> None:
    code = (
        "import sys, os, harness.models.device as d; "
        "print(sys.platform, hasattr(os, 'sched_getaffinity'), d.device())"
    )
    done = mac.run("-c", code)
    assert done.returncode == 0, done.stderr
    seen = done.stdout.split(maxsplit=2)
    assert seen[:2] == ["linux", "True"]
    assert "'backend': 'metal', 'chip': 'Apple M3 Max'" in seen[2]


@pytest.mark.slow
def test_the_doctor_knows_the_machine(mac: Mac) -> None:
    done = mac.run("-m", "harness", "doctor", "--json")
    assert done.returncode in (0, 1), done.stderr
    text = json.dumps(json.loads(done.stdout))
    assert "Apple M3 Max" in text
    assert "metal" in text


def test_scoring_needs_nothing_of_linux(mac: Mac) -> None:
    answers = mac.folder / "Antworten ✓.jsonl"
    gold = resolve_dataset("mini").valid
    spell = style("dialect").completion
    lines = [
        {"id": example.id, "text": spell(example.gold, gold.tables[example.table_id])}
        for example in gold.examples
    ]
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    options = ("--split=valid", f"--predictions={answers}", f"--out={mac.folder / 'o'}", "--json")
    done = mac.run("-m", "harness", "score", "--dataset=mini", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    scored = json.loads(done.stdout)
    assert (scored["n"], scored["ex"]) == (60, 1.0)


@pytest.mark.slow
def test_scoring_tests_itself(mac: Mac) -> None:
    done = mac.run("-m", "harness", "score", "--self-test")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_fine_tuning_and_its_losses(mac: Mac, two_layers: Path) -> None:
    suites = ("suites/test_finetune.py", "suites/test_loss.py")
    model = (f"--model={two_layers}", "--limit=8", "--set", "num_layers=2")
    results = bench(mac, *suites, *model, "--variant=lora")
    assert results["run"]["device"]["backend"] == "metal"
    assert results["run"]["device"]["chip"] == "Apple M3 Max"


def test_the_disk_ignores_case_and_keeps_it(folding: Path) -> None:
    (folding / "Lora.txt").write_text("one")
    (folding / "lora.TXT").write_text("two")
    (folding / "e\u0301").mkdir()
    assert (folding / "LORA.txt").read_text() == "two"
    assert (folding / "\u00c9").is_dir()
    with pytest.raises(FileExistsError):
        (folding / "\u00e9").mkdir()
    assert sorted(path.name for path in folding.iterdir()) == ["Lora.txt", "e\u0301"]
    (folding / "Lora.txt").replace(folding / "E\u0301" / "a")
    assert [path.name for path in (folding / "\u00e9").iterdir()] == ["a"]
    (folding / "new").write_bytes(bytes(3_000_000))
    (folding / "NEW").replace(folding / "\u00e9" / "A")
    assert (folding / "\u00e9" / "a").stat().st_size == 3_000_000


@pytest.mark.slow
def test_every_suite_on_a_disk_that_ignores_case(folding: Path, two_layers: Path) -> None:
    (folding / ODD).mkdir()
    options = (f"--model={two_layers}", "--limit=8", "--set", "num_layers=2", "--keep-fused")
    results = bench(Mac(folding / ODD), "suites/", *options, "--variant=lora,qlora,article/lora")
    assert results["run"]["partial"] == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_suite(mac: Mac, dtype: str, two_layers: Path, tmp_path: Path) -> None:
    # MLX's CPU device, which stands for the GPU here, is slow in bfloat16: two layers will do.
    model = two_layers if dtype == "float32" else _bfloat16(two_layers, tmp_path / "bf16")
    options = (f"--model={model}", "--limit=8", "--set", "num_layers=2")
    results = bench(mac, "suites/", *options, "--variant=lora,qlora", "--checkpoints=all")
    assert results["run"]["partial"] == []
    for variant in results["variants"].values():
        absent = [name for name, section in variant.items() if section is None]
        assert absent == ["exact_match"], "of data without tables alone"


def _bfloat16(source: Path, folder: Path) -> Path:
    """A model with its weights in bfloat16, as a model of the hub has them."""
    shutil.copytree(source, folder)
    weights = folder / "model.safetensors"
    halved = {name: array.astype(mx.bfloat16) for name, array in mx.load(str(weights)).items()}
    mx.save_safetensors(str(weights), halved, {"format": "mlx"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["cache", "cli", "data", "machine", "results", "sql"])
def test_the_project_s_own_tests(mac: Mac, folder: str) -> None:
    """Of what asks the system and its disk; `make test-mac` runs them by themselves."""
    done = mac.tests(f"tests/{folder}", "--tb=short")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_what_make_installs(tmp_path: Path) -> None:
    """In a folder without spaces, which no rule of make may have in its name."""
    done = Mac(tmp_path).tests("tests/models/test_models_installed.py", "--tb=short")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
