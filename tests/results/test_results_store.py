"""The store: whole or absent, refusals, row files, the state of the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError
from results_sample import sample_results, sample_rows, write_compared, write_sample

from harness.errors import UserError
from harness.report import write
from harness.runs import store
from harness.runs.file_names import check_new, row_file
from harness.runs.git_state import git_state
from harness.runs.store import RunRows, StoredRun, read_run
from harness.schema.results import Results


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return write_sample(tmp_path_factory.mktemp("results"), charts=True)


def test_a_run_holds_what_design_requires(stored: StoredRun) -> None:
    names = {path.name for path in stored.folder.iterdir()}
    assert {"results.json", "report.md", "loss.svg", "accuracy.svg", "tradeoff.svg"} <= names
    assert {"predictions.lora.jsonl", "losses.lora.jsonl", "trials.lora.jsonl"} <= names
    assert [p.name for p in stored.folder.parent.iterdir()] == ["sample"]


def test_results_json_has_designs_names_and_nesting(stored: StoredRun) -> None:
    raw = json.loads((stored.folder / "results.json").read_text(encoding="utf-8"))
    assert list(raw) == [
        "schema_version", "run", "model", "dataset", "protocols", "variants", "same_as",
        "comparisons", "gates", "gate_rules",
    ]  # fmt: skip
    lora = raw["variants"]["lora"]
    assert list(lora) == [
        "config", "adapter", "parameters", "finetune", "checkpoints", "loss", "memory", "size",
        "throughput", "execution", "fuse", "questions", "exact_match", "acceleration",
    ]  # fmt: skip
    assert list(lora["memory"]) == ["load", "train", "validate", "test", "generate", "fuse"]
    assert list(raw["comparisons"][0]) == [
        "a", "b", "metric", "delta", "ci95", "test", "p", "p_family", "p_holm", "fixed", "broken",
        "verdict", "minimum_detectable", "n_needed",
    ]  # fmt: skip
    assert raw["variants"]["base"]["adapter"] is None
    assert raw["variants"]["base"]["finetune"] is None


def test_reading_gives_back_what_was_written(stored: StoredRun) -> None:
    again = read_run(stored.folder)
    assert again.results == stored.results
    assert again.losses("lora") == sample_rows().losses["lora"]
    assert again.predictions("qlora") == sample_rows().predictions["qlora"]
    assert again.trials("base") == sample_rows().trials["base"]
    assert again.losses("nobody") is None


def test_a_run_is_named_by_folder_by_file_and_by_variant(stored: StoredRun) -> None:
    for where in (stored.folder, stored.folder / "results.json", str(stored.folder)):
        assert read_run(where).variants == ["base", "lora", "qlora"]
    assert read_run(f"{stored.folder}:qlora").variants == ["qlora"]
    assert read_run(f"{stored.folder}/results.json:qlora").variants == ["qlora"]
    with pytest.raises(UserError, match="Did you mean 'qlora'"):
        read_run(f"{stored.folder}:qlorra")


def test_a_slash_in_a_variant_becomes_two_underscores() -> None:
    assert row_file("predictions", "article/lora") == "predictions.article__lora.jsonl"


def test_an_existing_name_is_refused_before_anything_is_written(stored: StoredRun) -> None:
    with pytest.raises(UserError, match="exists already"):
        check_new(stored.folder.parent, "sample")
    with pytest.raises(UserError, match="--run-name"):
        check_new(stored.folder.parent, "a/b")


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("article/lora", "article__lora"),
        ("lora", "LoRA"),  # one file on a Mac's disk
        ("stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"),
    ],
)
def test_variants_that_share_a_file_name_are_refused(other: str, name: str, tmp_path: Path) -> None:
    results = sample_results()
    same = {other: results.variants["lora"], name: results.variants["lora"]}
    clash = results.model_copy(update={"variants": same, "comparisons": []})
    with pytest.raises(UserError, match="rename one of them"):
        write_compared(tmp_path / "results", clash, RunRows())
    assert not (tmp_path / "results").exists()


def test_no_run_is_named_as_the_folder_of_fused_models(tmp_path: Path) -> None:
    for name in ("fused", "Fused"):
        with pytest.raises(UserError, match="kept for fused models"):
            check_new(tmp_path, name)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, html: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write_report", broken)
    with pytest.raises(UserError, match="No space left on device"):
        write_sample(tmp_path, charts=True)
    assert list(tmp_path.iterdir()) == []


def test_no_run_there_says_where_runs_lie(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="results/runs"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "schema_version None"),
        ('{"schema_version": 2}', "schema_version 2"),
        ('{"schema_version": 1, "run": {}}', r"run\.id"),
    ],
)
def test_a_damaged_results_file_is_named_with_a_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_run(tmp_path)
    assert str(tmp_path / "results.json") in str(caught.value)
    assert "make the run again" in str(caught.value)


def test_a_damaged_row_is_named_by_line(stored: StoredRun, tmp_path: Path) -> None:
    lines = (stored.folder / "losses.lora.jsonl").read_text().splitlines()
    lines[2] = lines[2][:-5]
    (tmp_path / "losses.lora.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"losses\.lora\.jsonl:3 is damaged"):
        StoredRun(tmp_path, stored.results).losses("lora")


def test_a_row_that_is_no_utf8_is_named_by_line(stored: StoredRun, tmp_path: Path) -> None:
    lines = (stored.folder / "predictions.lora.jsonl").read_bytes().splitlines()
    lines[3] = lines[3].replace(b"SELECT", b"SEL\xe9CT", 1)
    (tmp_path / "predictions.lora.jsonl").write_bytes(b"\n".join(lines))
    with pytest.raises(UserError) as caught:
        StoredRun(tmp_path, stored.results).predictions("lora")
    reason = str(caught.value)
    assert f"{tmp_path / 'predictions.lora.jsonl'}:4 is damaged: byte " in reason
    assert "is no UTF-8" in reason
    assert "make the run again" in reason
    assert "\n" not in reason


def test_a_row_file_that_cannot_be_read_is_the_one_named(stored: StoredRun, tmp_path: Path) -> None:
    shutil.copytree(stored.folder, tmp_path / "run")
    file = tmp_path / "run" / "losses.lora.jsonl"
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=r"losses\.lora\.jsonl is missing, and"):
        StoredRun(tmp_path / "run", stored.results).losses("lora")


def test_the_schema_refuses_unknown_keys_and_numbers_json_cannot_hold(stored: StoredRun) -> None:
    raw = store.dump(stored.results)
    with pytest.raises(ValidationError, match="Extra inputs"):
        Results.model_validate({**raw, "surprise": 1})
    raw["variants"]["lora"]["finetune"]["wall_s"] = float("nan")
    with pytest.raises(ValidationError, match="finite"):
        Results.model_validate(raw)


def test_every_stored_field_is_described() -> None:
    bare = [
        f"{name}.{key}"
        for name, definition in Results.model_json_schema()["$defs"].items()
        for key, value in definition["properties"].items()
        if not value.get("description")
    ]
    assert bare == []


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        check=True,
        capture_output=True,
    )


def test_dirty_means_tracked_changes_outside_results(tmp_path: Path) -> None:
    assert git_state(tmp_path).commit is None
    git(tmp_path, "init", "-q")
    (tmp_path / "results").mkdir()
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "results" / "README.md").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    assert git_state(tmp_path).dirty is False
    (tmp_path / "results" / "README.md").write_text("2")
    (tmp_path / "untracked").write_text("x")
    assert git_state(tmp_path).dirty is False
    (tmp_path / "code.py").write_text("2")
    state = git_state(tmp_path)
    assert state.dirty is True
    assert state.commit is not None
    assert len(state.commit) == 40
