"""compare, report, gate and the leaderboard on stored runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from results_sample import tables_without_origin, write_sample
from typer.testing import CliRunner

from harness.__main__ import app
from harness.cli.runs import compare_command, gate_command, report_command
from harness.errors import UserError
from harness.report.leaderboard import leaderboard, readme_table, replace_block
from harness.runs.store import StoredRun, read_run


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return write_sample(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def results_dir(stored: StoredRun) -> Path:
    return stored.folder.parent


def copy(stored: StoredRun, name: str, **run: object) -> Path:
    """The stored run under another name with changed fields of its `run` section."""
    folder = stored.folder.parent.parent / name / name
    shutil.copytree(stored.folder, folder)
    raw = json.loads((folder / "results.json").read_text())
    raw["run"] |= {"id": name, **run}
    for variant in raw["variants"].values():  # weights of its own
        if variant["adapter"]:
            variant["adapter"]["sha256"] = f"{name:_>64}"[-64:]
    (folder / "results.json").write_text(json.dumps(raw))
    return folder


def test_compare_two_variants_of_one_run(stored: StoredRun) -> None:
    value, text = compare_command(f"{stored.folder}:lora", f"{stored.folder}:qlora")
    json.dumps(value, allow_nan=False)
    assert [c["metric"] for c in value["comparisons"]] == ["completion_loss", "ex", "ex_hardened"]
    assert "**`qlora` is worse than `lora` on" in text
    assert "Examples broken by `qlora`:" in text
    assert "interleaved" in text
    # One run, two picks: one line under each of three tables.
    assert text.count("`pytest suites/ --variant=base,lora,qlora`") == 3
    assert tables_without_origin(text) == []
    assert value["speeds"][1]["metric"] == "generation_tokens_per_s"
    # Training peaks: 0.54 + 2.0 GB and 0.09 + 2.0 GB.
    assert "| `qlora` / `lora` | train    | 2.09 GB / 2.54 GB |  0.82 × |" in text
    assert value["memory"][0]["ratio"] == pytest.approx(2.09 / 2.54)


def test_compare_takes_several_seeds(stored: StoredRun) -> None:
    folders = [str(stored.folder), *(str(copy(stored, f"s{seed}", seed=seed)) for seed in (1, 2))]
    value, text = compare_command(*folders)
    assert "## Across seeds" in text
    # Copies of one run: no seed changes anything.
    assert value["claim"].startswith("Nothing may be claimed of the methods: no seed changes")
    assert len(value["seeds"]) == 9  # three pairs of variants, three metrics
    assert len(value["comparisons"]) == 27
    pairs = {(c["a"], c["b"]) for c in value["comparisons"]}
    assert len(pairs) == 9
    assert ("s1:lora", "s1:qlora") in pairs
    assert text.count("## `s1:qlora` beside `s1:lora`") == 1
    assert tables_without_origin(text) == []
    one, two, three = (f"{folder}:lora" for folder in folders)
    alone, _ = compare_command(one, two, three)
    assert alone["seeds"] == []
    assert [c["b"] for c in alone["comparisons"]] == ["s1:lora"] * 3 + ["s2:lora"] * 3


def test_report_without_out_prints_and_writes_nothing(stored: StoredRun) -> None:
    before = sorted(stored.folder.iterdir())
    value, text = report_command([str(stored.folder)])
    assert text == (stored.folder / "report.md").read_text(encoding="utf-8")
    assert value["files"] == []
    assert sorted(stored.folder.iterdir()) == before


@pytest.mark.slow
def test_report_with_out_writes_the_tables_and_charts(stored: StoredRun, tmp_path: Path) -> None:
    value, text = report_command([str(stored.folder)], out=tmp_path, article=True)
    assert {Path(f).name for f in value["files"]} == {
        "loss.svg", "accuracy.svg", "tradeoff.svg", "failures.svg", "speed.svg",
        "checkpoints.svg", "report.md",
    }  # fmt: skip
    assert "published QLoRA" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert str(tmp_path / "report.md") in text


@pytest.mark.slow
def test_the_page_of_one_run_is_written_into_its_own_folder(tmp_path: Path) -> None:
    run = write_sample(tmp_path, charts=True)
    report = (run.folder / "report.md").read_bytes()
    page = run.folder / "index.html"
    first = page.read_text(encoding="utf-8")
    page.unlink()
    value, text = report_command([str(run.folder)], html=True)
    assert value["files"] == [str(page)]
    assert str(page) in text
    assert page.read_text(encoding="utf-8") == first
    assert (run.folder / "report.md").read_bytes() == report
    for less_or_more in ([f"{run.folder}:lora"], [str(run.folder), f"{run.folder}:lora"]):
        with pytest.raises(UserError, match="--out DIR"):
            report_command(less_or_more, html=True)


@pytest.mark.slow
def test_open_shows_the_page(stored: StoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    (stored.folder / "index.html").unlink(missing_ok=True)
    done = CliRunner().invoke(app, ["report", str(stored.folder), "--open"])
    assert done.exit_code == 0, done.output
    assert shown == [(stored.folder / "index.html").resolve().as_uri()]


def test_gate_gives_zero_for_itself_and_one_for_a_worse_variant(stored: StoredRun) -> None:
    _, text, status = gate_command(str(stored.folder), str(stored.folder))
    assert status == 0
    assert "No regression" in text
    assert tables_without_origin(text) == []
    assert "thresholds of `fixtures/gates.toml`" in text
    value, text, status = gate_command(f"{stored.folder}:qlora", f"{stored.folder}:lora")
    assert status == 1
    assert value["status"] == "regression"
    assert "completion" in text
    value, _, status = gate_command(f"{stored.folder}:lora", str(stored.folder))
    assert status == 0
    assert {g["variant"] for g in value["gates"]} == {"lora"}, "only what was picked is held"


def test_a_gate_that_held_nothing_did_not_pass(stored: StoredRun, tmp_path: Path) -> None:
    rules = tmp_path / "speed.toml"
    rules.write_text(
        '[generation_tokens_per_s]\ndirection = "higher"\nrelative = 0.1\nreason = "x"\n'
    )
    # The run against itself: one measurement.
    value, text, status = gate_command(str(stored.folder), str(stored.folder), rules)
    assert (value["status"], status) == ("nothing compared", 2)
    assert text.startswith("**Nothing was compared, so nothing passed**: 3 skipped.")
    assert "the same measurement" in text


def test_gate_refuses_a_missing_baseline(stored: StoredRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run at"):
        gate_command(str(stored.folder), str(tmp_path / "results.json"))


def test_the_leaderboard_lists_published_runs_only(
    results_dir: Path, stored: StoredRun, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    shutil.copytree(stored.folder, tmp_path / "sample")
    shutil.copytree(stored.folder, tmp_path / "runs" / "local")
    text = leaderboard(tmp_path)
    assert "[sample](sample/report.md)" in text
    assert "local" not in text
    assert "Published elsewhere" in text
    assert text == leaderboard(tmp_path)
    assert tables_without_origin(text) == []


def test_data_sets_of_one_name_are_ranked_apart(stored: StoredRun, tmp_path: Path) -> None:
    for name, sha256 in (("mine", "bb" * 32), ("other", "cc" * 32), ("again", "cc" * 32)):
        shutil.copytree(stored.folder, tmp_path / name)
        raw = json.loads((tmp_path / name / "results.json").read_text())
        raw["run"]["id"] = name
        raw["dataset"]["sha256"] = sha256
        (tmp_path / name / "results.json").write_text(json.dumps(raw))
    text = leaderboard(tmp_path)
    headings = [line for line in text.splitlines() if line.startswith(("## smollm2", "### ["))]
    assert [line.split("](")[0] for line in headings if line.startswith("###")] == [
        "### [again", "### [other", "### [mine",
    ]  # fmt: skip
    settings = [line for line in headings if line.startswith("## ")]
    assert len(settings) == 2
    assert "data sha256 cccccccccccc" in settings[0]
    assert "data sha256 bbbbbbbbbbbb" in settings[1]


def test_the_leaderboard_sets_side_by_side_what_compare_compares(
    stored: StoredRun, tmp_path: Path
) -> None:
    prompts = {"a": "dialect@1 sha256:aa", "b": None, "c": "dialect@1 sha256:cc"}
    for name, prompt in prompts.items():
        shutil.copytree(stored.folder, tmp_path / name)
        raw = json.loads((tmp_path / name / "results.json").read_text())
        raw["run"]["id"], raw["protocols"]["prompt"] = name, prompt
        (tmp_path / name / "results.json").write_text(json.dumps(raw))
    settings = leaderboard(tmp_path).split("\n## ")[1:3]
    assert "### [a]" in settings[0]
    assert "### [b]" in settings[0]
    assert "Not recorded by `b`: `protocols.prompt`, so the runs are compared" in settings[0]
    assert "### [c]" in settings[1]
    a, b, c = (str(tmp_path / name) for name in prompts)
    assert "Not recorded by `b`: `protocols.prompt`" in compare_command(a, b)[1]
    with pytest.raises(UserError, match=r"protocols\.prompt"):
        compare_command(a, c)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"partial": ["fuse"]}, "is partial"),
        ({"git": {"commit": "0" * 40, "dirty": True}}, "is dirty"),
    ],
)
def test_a_partial_or_dirty_run_cannot_be_published(
    stored: StoredRun, field: dict[str, object], message: str
) -> None:
    folder = copy(stored, f"bad-{message[-5:]}", **field)
    with pytest.raises(UserError, match=message):
        leaderboard(folder.parent)


def test_the_readme_block_is_replaced_between_its_markers(stored: StoredRun) -> None:
    block = readme_table(read_run(stored.folder))
    readme = "a\n<!-- table -->\nold\n<!-- /table -->\nb\n"
    done = replace_block(readme, block)
    assert done == f"a\n<!-- table -->\n{block}\n<!-- /table -->\nb\n"
    assert replace_block(done, block) == done
    with pytest.raises(UserError, match="markers"):
        replace_block("nothing", block)


def test_seeds_of_one_setting_are_published_together(stored: StoredRun, tmp_path: Path) -> None:
    for seed in range(3):
        made = copy(stored, f"three-{seed}", seed=seed, partial=["fuse"])
        shutil.copytree(made, tmp_path / "three" / f"three-{seed}")
    text = leaderboard(tmp_path)
    assert "## Across seeds: three" in text
    assert "[three-2](three/three-2/report.md)" in text
    assert "Nothing may be claimed of the methods: no seed changes" in text
