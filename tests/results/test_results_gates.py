"""Gates: fail, pass, inconclusive, skipped; refusals; bless."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from results_sample import (
    MemoryRun,
    loss_rows,
    memory_run,
    prediction_rows,
    sample_rows,
    trial_rows,
    write_sample,
)

from harness.compare.gates import judge
from harness.compare.metrics import METRICS
from harness.compare.thresholds import GateRule, load_gates
from harness.errors import UserError
from harness.runs.baseline import bless
from harness.runs.store import RunRows, StoredRun, read_run
from harness.schema.results import GateResult

RULES = load_gates()


def changed(**rows: Any) -> MemoryRun:
    """The sample's qlora with other rows, as a new run of that variant."""
    base = sample_rows()
    made = RunRows(
        {"qlora": rows.get("losses", base.losses["qlora"])},
        {"qlora": rows.get("predictions", base.predictions["qlora"])},
        {"qlora": rows.get("trials", base.trials["qlora"])},
    )
    return retimed(memory_run("new", made))


def updated(run: MemoryRun, section: str, **fields: Any) -> MemoryRun:
    """The run with fields of one section of every variant changed."""
    variants = {
        name: result.model_copy(
            update={section: getattr(result, section).model_copy(update=fields)}
        )
        for name, result in run.results.variants.items()
        if getattr(result, section) is not None
    }
    return dataclasses.replace(run, results=run.results.model_copy(update={"variants": variants}))


def retimed(run: MemoryRun) -> MemoryRun:
    return updated(run, "throughput", measured_at="2026-11-25T09:00:00Z on Sample CPU, 2 cores")


def verdicts(run: MemoryRun, **kwargs: Any) -> dict[str, GateResult]:
    return {g.metric: g for g in judge(run, memory_run("old"), RULES, **kwargs)}


def test_the_same_numbers_pass_every_gate() -> None:
    found = verdicts(changed())
    quality = {name: found[name].verdict for name in ("completion_loss", "ex", "valid")}
    assert quality == {"completion_loss": "pass", "ex": "pass", "valid": "pass"}
    assert "fail" not in {gate.verdict for gate in found.values()}


def test_a_clearly_worse_model_fails_in_words() -> None:
    found = verdicts(
        changed(losses=loss_rows("qlora", shift=0.3), predictions=prediction_rows("qlora", 0.05))
    )
    assert found["completion_loss"].verdict == "fail"
    assert found["ex"].verdict == "fail"
    assert "beyond the margin and beyond noise" in found["ex"].reason
    assert found["ex"].threshold == pytest.approx(
        (found["ex"].baseline or 0) - RULES["ex"].absolute
    )


def test_a_small_true_loss_is_inconclusive_not_passed() -> None:
    rule = RULES["ex"].model_copy(update={"absolute": 0.06})
    new = changed(predictions=prediction_rows("qlora", 0.41))
    [found] = judge(new, memory_run("old"), {"ex": rule})
    assert found.verdict == "inconclusive"


def test_a_better_model_passes_with_any_margin() -> None:
    found = verdicts(changed(losses=loss_rows("qlora", shift=-0.2)))
    assert found["completion_loss"].verdict == "pass"


def test_slower_trials_fail_and_faster_ones_pass() -> None:
    slow = verdicts(changed(trials=trial_rows("qlora", factor=0.6)))
    fast = verdicts(changed(trials=trial_rows("qlora", factor=1.5)))
    assert slow["generation_tokens_per_s"].verdict == "fail"
    assert fast["generation_tokens_per_s"].verdict == "pass"


def slower(significance: float | None) -> GateResult:
    """Trials that are 6% slower on average with a spread that makes p about 0.02."""
    old, new = (10.0, 10.2, 9.8), (9.2, 9.6, 9.4)
    rows = {
        name: [
            row.model_copy(update={"generation_tokens_per_s": speed})
            for row, speed in zip(trial_rows("qlora"), speeds, strict=True)
        ]
        for name, speeds in (("old", old), ("new", new))
    }
    runs = {}
    for name, medians in (("old", 10.0), ("new", 9.4)):
        base = sample_rows()
        made = RunRows({"qlora": base.losses["qlora"]}, {"qlora": base.predictions["qlora"]},
                       {"qlora": rows[name]})  # fmt: skip
        runs[name] = updated(
            memory_run(name, made), "throughput", generation_tokens_per_s=medians, measured_at=name
        )
    rule = GateRule(direction="higher", relative=0.02, significance=significance, reason="why")
    return judge(runs["new"], runs["old"], {"generation_tokens_per_s": rule})[0]


def test_the_level_of_a_timing_gate_is_the_files() -> None:
    # Means 2.30249 and 2.24053 of the logarithms, standard deviations 0.0200 and 0.0213.
    assert slower(0.05).verdict == "fail"
    assert (
        "Welch's t on logarithms of the trials p 0.0215, 3 trials against 3" in slower(0.05).reason
    )
    assert slower(0.01).verdict == "inconclusive"
    assert slower(None).verdict == "fail"


def test_single_timings_are_inconclusive_and_lost_ones_fail() -> None:
    found = verdicts(changed(trials=trial_rows("qlora")[:1]))["generation_tokens_per_s"]
    assert found.verdict == "inconclusive"
    assert "one trial has no interval (1 trials against 3)" in found.reason
    timed = changed()
    bare = dataclasses.replace(timed, rows=dataclasses.replace(timed.rows, trials={}))
    lost = verdicts(bare)["generation_tokens_per_s"]
    assert lost.verdict == "fail"
    assert lost.reason == "no trials.*.jsonl to compare in run new or old"


def test_one_cached_measurement_is_not_compared_with_itself() -> None:
    found = judge(memory_run("new"), memory_run("old"), RULES)
    timed = [g for g in found if g.metric.endswith("per_s")]
    assert {(g.verdict, g.reason) for g in timed} == {("skipped", "the same measurement")}


def eight(name: str, adapter: str) -> MemoryRun:
    """Eight answers of eight tables by the adapter of this digest."""
    run = dataclasses.replace(memory_run(name), variant="qlora")
    rows = RunRows(predictions={"qlora": prediction_rows("qlora")[:8]})
    return dataclasses.replace(updated(run, "adapter", sha256=adapter), rows=rows)


def test_eight_equal_answers_of_another_adapter_are_inconclusive() -> None:
    rule = {"ex": RULES["ex"]}
    other = judge(eight("new", "ab" * 32), eight("old", "cd" * 32), rule)[0]
    assert other.verdict == "inconclusive"
    # Example 7 is degenerate: seven units, and two more that differ: 49 δ² = 1.96² (2 + 7 δ²).
    assert "at worst worse by 58.9 points" in other.reason
    same = judge(eight("new", "ab" * 32), eight("old", "ab" * 32), rule)[0]
    assert same.verdict == "pass"


def test_memory_of_another_number_of_ranks_is_skipped_by_name() -> None:
    new, old = memory_run("new", distributed={"size": 2}), memory_run("old")
    rules = {"train_memory_bytes": GateRule(direction="lower", relative=0.05, reason="why")}
    [gate] = [g for g in judge(new, old, rules) if g.variant == "qlora"]
    assert gate.verdict == "skipped"
    assert "another number of ranks (2; the baseline's: 1)" in gate.reason


def test_timings_of_another_machine_are_skipped_by_name_and_quality_still_gates() -> None:
    new = changed(losses=loss_rows("qlora", shift=0.3))
    device = new.results.run.device.model_copy(update={"chip": "Other CPU"})
    run = new.results.run.model_copy(update={"device": device})
    new = dataclasses.replace(new, results=new.results.model_copy(update={"run": run}))
    found = verdicts(new)
    assert found["generation_tokens_per_s"].verdict == "skipped"
    assert "Other CPU" in found["generation_tokens_per_s"].reason
    assert found["completion_loss"].verdict == "fail"


def test_contended_timings_are_skipped() -> None:
    new = dataclasses.replace(memory_run("new", contended=True))
    found = judge(new, memory_run("old"), RULES)
    assert {g.verdict for g in found if g.metric.endswith("per_s")} == {"skipped"}


def without(run: MemoryRun, section: str) -> MemoryRun:
    variants = {
        name: result.model_copy(update={section: None})
        for name, result in run.results.variants.items()
    }
    return dataclasses.replace(run, results=run.results.model_copy(update={"variants": variants}))


def test_a_missing_metric_fails_on_either_side() -> None:
    found = {g.metric: g for g in judge(without(changed(), "loss"), memory_run("old"), RULES)}
    assert found["completion_loss"].verdict == "fail"
    assert "not measured in run new" in found["completion_loss"].reason
    found = {g.metric: g for g in judge(changed(), without(memory_run("old"), "loss"), RULES)}
    assert "not measured in the baseline old" in found["completion_loss"].reason


def test_a_timing_that_was_not_taken_fails_on_any_machine() -> None:
    run = dataclasses.replace(memory_run("new", contended=True))
    found = {g.metric: g for g in judge(without(run, "throughput"), memory_run("old"), RULES)}
    assert found["generation_tokens_per_s"].verdict == "fail"
    assert found["generation_tokens_per_s"].reason == "not measured in run new"


def test_a_missing_variant_fails_on_either_side() -> None:
    lacking = judge(changed(), memory_run("old"), RULES, require_all=True)
    assert {g.variant for g in lacking if g.verdict == "fail"} == {"base", "lora"}
    unknown = judge(memory_run("new"), changed(), RULES)
    assert {g.variant for g in unknown if "no variant" in g.reason} == {"base", "lora"}
    assert all(g.verdict == "fail" for g in unknown if g.variant == "lora")


def test_unlike_runs_are_refused_by_field() -> None:
    new = changed()
    dataset = new.results.dataset.model_copy(update={"sha256": "dd" * 32})
    other = dataclasses.replace(new, results=new.results.model_copy(update={"dataset": dataset}))
    with pytest.raises(UserError, match=r"dataset\.sha256"):
        judge(other, memory_run("old"), RULES)


def test_another_limit_is_refused_by_name() -> None:
    new = changed()
    result = new.results.variants["qlora"]
    assert result.execution is not None
    part = result.model_copy(update={"execution": result.execution.model_copy(update={"n": 20})})
    results = new.results.model_copy(update={"variants": {"qlora": part}})
    with pytest.raises(UserError, match="limit: 20 of 60, seed 0 against 60"):
        judge(dataclasses.replace(new, results=results), memory_run("old"), RULES)


def test_a_picked_variant_gates_against_a_picked_one_of_another_name() -> None:
    new = dataclasses.replace(memory_run("new"), variant="qlora")
    old = dataclasses.replace(memory_run("old"), variant="lora")
    found = {g.metric: g for g in judge(new, old, RULES)}
    assert found["completion_loss"].verdict == "fail"
    assert found["completion_loss"].variant == "qlora"


def test_memory_is_exact_and_needs_no_test() -> None:
    new = changed()
    old = memory_run("old")
    rule = {"generate_memory_bytes": RULES["generate_memory_bytes"]}
    assert judge(new, old, rule)[0].verdict == "pass"
    result = new.results.variants["qlora"]
    assert result.memory is not None
    assert result.memory.generate is not None
    grown = result.memory.generate.model_copy(update={"mlx_peak_bytes": 900_000_000})
    memory = result.memory.model_copy(update={"generate": grown})
    variants = {"qlora": result.model_copy(update={"memory": memory})}
    new = dataclasses.replace(new, results=new.results.model_copy(update={"variants": variants}))
    assert judge(new, old, rule)[0].verdict == "fail"


def test_the_larger_margin_counts() -> None:
    rule = GateRule(direction="lower", absolute=0.03, relative=0.05, reason="x")
    assert rule.margin(0.2) == pytest.approx(0.03)
    assert rule.margin(2.0) == pytest.approx(0.1)
    assert rule.threshold(2.0) == pytest.approx(2.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no metric"),
        ("[", "not readable TOML"),
        ('[exx]\ndirection = "higher"\nreason = "x"', "Did you mean 'ex'"),
        ('[ex]\ndirection = "lower"\nreason = "x"', "higher is better"),
        ('[ex]\ndirection = "higher"\nreason = "x"\nmargin = 1', r"ex\.margin"),
        ('[ex]\ndirection = "higher"\nabsolute = -1\nreason = "x"', r"ex\.absolute"),
        ('[ex]\ndirection = "higher"', r"ex\.reason"),
        (
            '[adapter_bytes]\ndirection = "lower"\nsignificance = 0.05\nreason = "x"',
            r"adapter_bytes\.significance is 0\.05, but a number without noise",
        ),
    ],
)
def test_a_wrong_gates_file_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "gates.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        load_gates(file)


def test_a_missing_gates_file_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no gates file"):
        load_gates(tmp_path / "none.toml")


def test_every_shipped_gate_gives_its_reason() -> None:
    assert set(RULES) <= set(METRICS)
    assert all(len(rule.reason) > 20 for rule in RULES.values())


def test_bless_swaps_the_baseline_and_keeps_the_old(tmp_path: Path) -> None:
    old = write_sample(tmp_path, "old")
    new = write_sample(tmp_path, "new")
    kept = bless(new, old.folder / "results.json")
    assert kept == tmp_path / "old.before-new"
    assert read_run(tmp_path / "old").id == "new"
    assert read_run(tmp_path / "old").losses("lora") == new.losses("lora")
    assert read_run(kept).id == "old"
    assert bless(new, tmp_path / "fresh") is None
    assert read_run(tmp_path / "fresh").id == "new"
    with pytest.raises(UserError, match="already"):
        bless(new, new.folder)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return write_sample(tmp_path_factory.mktemp("stored"), "sample")


@pytest.mark.parametrize("broken", ["copytree", "rename", "interrupt"])
def test_a_blessing_that_fails_leaves_the_old_baseline_and_nothing_beside(
    stored: StoredRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    old = StoredRun(tmp_path / "b" / "old", stored.results)
    shutil.copytree(stored.folder, old.folder)
    new = dataclasses.replace(
        stored,
        results=stored.results.model_copy(
            update={"run": stored.results.run.model_copy(update={"id": "new"})}
        ),
    )
    before = sorted(path.name for path in (tmp_path / "b").iterdir())

    def full(source: Path, target: Path, **options: object) -> None:
        (Path(target) / "half.jsonl").write_text("x")
        if broken == "interrupt":
            raise KeyboardInterrupt
        refusal = "[Errno 28] No space left on device"
        raise shutil.Error([(str(source), str(target), refusal)])

    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name.startswith("."):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    if broken == "rename":
        monkeypatch.setattr(Path, "rename", refused)
    else:
        monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(KeyboardInterrupt if broken == "interrupt" else UserError) as caught:
        bless(new, old.folder)
    monkeypatch.undo()
    if broken != "interrupt":
        assert "No space left on device" in str(caught.value)
        assert "half.jsonl" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == before
    assert read_run(old.folder) == dataclasses.replace(stored, folder=old.folder)


def test_a_partial_run_cannot_be_blessed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="partial"):
        bless(memory_run("new", partial=["execution"]), tmp_path / "baseline")


def test_reasons_read_as_words() -> None:
    same = verdicts(changed())["ex"].reason
    assert same.startswith("53.4% before, 53.4% now: equal; ")
    assert "points tolerated" in same
    better = verdicts(changed(losses=loss_rows("qlora", shift=-0.2)))["completion_loss"].reason
    assert "now: better by 0.1986 nats a token" in better
    slow = verdicts(changed(trials=trial_rows("qlora", factor=0.6)))
    assert "tokens/s tolerated" in slow["generation_tokens_per_s"].reason


def test_another_scale_of_the_same_weights_is_another_system() -> None:
    new, old = eight("new", "ab" * 32), eight("old", "ab" * 32)
    result = new.results.variants["qlora"]
    config = {**result.config, "lora_parameters": {"rank": 8, "scale": 40.0}}
    variants = {"qlora": result.model_copy(update={"config": config})}
    new = dataclasses.replace(new, results=new.results.model_copy(update={"variants": variants}))
    assert judge(new, old, {"ex": RULES["ex"]})[0].verdict == "inconclusive"
