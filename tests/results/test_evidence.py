"""A gate is never green without evidence: runs that do not fit their own rows, or their texts."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results_sample import MemoryRun, memory_run, report_of, sample_rows, write_sample
from typer.testing import CliRunner

from harness.__main__ import app
from harness.cli.runs import compare_command, gate_command
from harness.compare.evidence import faults, require_evidence
from harness.compare.gates import judge
from harness.compare.regrade import known_split, regrade, require_regraded
from harness.compare.thresholds import load_gates
from harness.data.sources.resolve import MINI_FOLDER, resolve_dataset
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.protocols import EXECUTION
from harness.report.leaderboard import check_evidence
from harness.runs.store import RunRows, StoredRun, dump, read_run
from harness.schema.results import Results
from harness.schema.rows import PredictionRow

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "results" / "smollm2-mini-seeds"
RULES = load_gates()
Edit = Callable[[Any], Any]


def edited(run: MemoryRun, edit: Edit) -> MemoryRun:
    """The run with its results.json changed in place as plain JSON."""
    raw = json.loads(json.dumps(dump(run.results)))
    edit(raw)
    return dataclasses.replace(run, results=Results.model_validate(raw))


def with_rows(run: MemoryRun, kind: str, edit: Edit, variant: str = "lora") -> MemoryRun:
    """The run with the rows of one file replaced by what ``edit`` makes of them."""
    files = {**getattr(run.rows, kind)}
    files[variant] = edit(list(files[variant]))
    return dataclasses.replace(run, rows=dataclasses.replace(run.rows, **{kind: files}))


def every(**fields: Any) -> Edit:
    """Rows with ``fields`` changed, by their values or by functions of the row."""
    return lambda rows: [
        row.model_copy(
            update={k: value(row) if callable(value) else value for k, value in fields.items()}
        )
        for row in rows
    ]


def lora(raw: Any) -> Any:
    return raw["variants"]["lora"]


def put(section: str, **fields: Any) -> Edit:
    return lambda raw: lora(raw)[section].update(fields)


ROWS: dict[str, tuple[str, Edit, str]] = {
    "repeated": ("predictions", lambda r: [*r[:-1], r[0]], "predictions.lora.jsonl has id 0 2 ti"),
    "cut": ("predictions", lambda r: r[:5], "has 5 rows, variants.lora.execution.n is 60"),
    "empty": ("losses", lambda r: [], "losses.lora.jsonl has 0 rows, variants.lora.loss.n is 60"),
    "no example": ("losses", lambda r: [r[0].model_copy(update={"id": 99}), *r[1:]],
                   "losses.lora.jsonl has id 99, variants.lora.loss.of is 60"),
    "negative": ("losses", every(completion_nll=lambda r: -r.completion_nll),
                 "id 0 has a negative loss, and 59 more like it"),
    "lower": ("losses", every(completion_nll=lambda r: r.completion_nll / 2),
              "completion_loss of 'lora' is 0."),
    "tokens": ("losses", every(full_tokens=lambda r: r.full_tokens + 1),
               "has 4,611 full_tokens, results.json 4,551") ,
    "contradiction": ("predictions", every(failure="no_query"),
                      "valid is true beside failure 'no_query'"),
    "hardened alone": ("predictions", every(ex_hardened=True, failure=None),
                       "ex_hardened is true, ex false"),
    "not asked": ("predictions", every(ex_hardened=lambda r: r.ex_hardened or None),
                  "ex_hardened is null, ex false"),
    "other tables": ("predictions", every(table_id="t-0"),
                     "predictions.lora.jsonl has t-0 as table of id 1, run sample: losses"),
    "null where wrong": ("predictions",
                         every(ex=lambda r: r.ex or None, ex_strict=None, ex_hardened=None),
                         "predictions.lora.jsonl has null as ex of id"),
    "failures": ("predictions", every(failure=None), "failures of kind"),
    "trials": ("trials", every(ttft_s=1.0), "ttft_s of 'lora' is"),
    "checkpoints": ("checkpoints", lambda r: [x for x in r if x.iteration > 20],
                    "has checkpoints [30, 40], results.json [20, 30, 40]"),
    "a checkpoint": ("checkpoints", every(ex=True), "ex of checkpoint 20 is 1, in results.json"),
}  # fmt: skip

RECORDS: dict[str, tuple[Edit, str]] = {
    "ex": (put("execution", ex=0.999), "ex of 'lora' is 0.999 in results.json, 0."),
    "no ex": (put("execution", ex=None), "ex of 'lora' is null in results.json, 0."),
    "valid": (put("execution", valid=1.0), "valid of 'lora' is 1 in results.json"),
    "degenerate": (put("execution", degenerate_gold=3), "2 rows without ex, degenerate_gold is 3"),
    "n": (put("execution", n=59), "has 60 rows, variants.lora.execution.n is 59"),
    "of": (put("loss", of=80), "variants.lora.loss.of is 80, dataset.splits.test 60"),
    "loss": (
        lambda raw: lora(raw)["loss"]["completion"].update(loss=0.001, ppl=1.001),
        "completion_loss of 'lora' is 0.001 in results.json",
    ),
    "ppl": (lambda raw: lora(raw)["loss"]["completion"].update(ppl=1.0), "ppl 1 is not exp of"),
    "groups": (
        lambda raw: lora(raw)["execution"]["by_agg"]["COUNT"].update(ex=1.0),
        "by_agg together",
    ),
    "form": (
        lambda raw: raw["dataset"].update(form="chat"),
        "dataset.form is 'chat', which has no tables, and variants.base.execution is there",
    ),
}


def test_a_run_fits_its_own_rows() -> None:
    assert faults(memory_run()) == []


@pytest.mark.parametrize("run", sorted((ROOT / "results").rglob("results.json")), ids=str)
def test_every_published_run_fits_its_own_rows(run: Path) -> None:
    assert faults(read_run(run)) == []


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_do_not_fit_are_named(case: str) -> None:
    kind, edit, said = ROWS[case]
    found = faults(with_rows(memory_run(), kind, edit))
    assert any(said in fault for fault in found), found
    assert all(fault.startswith("run sample: ") for fault in found)


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_does_not_fit_is_named(case: str) -> None:
    edit, said = RECORDS[case]
    found = faults(edited(memory_run(), edit))
    assert any(said in fault for fault in found), found


def test_what_does_not_fit_is_refused_as_evidence_and_a_report_warns_in_one_line() -> None:
    run = with_rows(memory_run(), "predictions", lambda rows: rows[:5])
    found = faults(run)
    with pytest.raises(UserError) as refused:
        require_evidence(run)
    assert str(refused.value).startswith("run 'sample' does not fit its own rows, so it is no evid")
    assert found[0] in str(refused.value)
    assert f"and {len(found) - 5} more" in str(refused.value)
    [line] = [line for line in report_of(run).split("\n") if "Does not add up" in line]
    assert line.startswith("> Does not add up: ")
    assert f"and {len(found) - 1} more. Its numbers are no evidence." in line
    assert "Does not add up" not in report_of(memory_run())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return write_sample(tmp_path_factory.mktemp("stored"), "old")


def test_the_command_refuses_and_comparing_warns(stored: StoredRun, tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(stored.folder, new)
    (new / "checksums.json").unlink()
    raw = json.loads((new / "results.json").read_text("utf-8"))
    raw["run"]["id"] = "new"
    raw["variants"]["lora"]["execution"]["ex"] = 0.999
    (new / "results.json").write_text(json.dumps(raw), "utf-8")
    said = "run new: ex of 'lora' is 0.999 in results.json"
    for sides in ((new, stored.folder), (stored.folder, new)):
        with pytest.raises(UserError, match=said):
            gate_command(str(sides[0]), str(sides[1]))
    _, text = compare_command(str(new), str(stored.folder))
    assert "> Does not add up: run new: ex of 'lora' is 0.999" in text.replace("\\", "")


def test_empty_rows_on_both_sides_are_refused_too(stored: StoredRun, tmp_path: Path) -> None:
    sides = []
    for name in ("new", "old"):
        folder = tmp_path / name
        shutil.copytree(stored.folder, folder)
        (folder / "checksums.json").unlink()
        for file in folder.glob("*.jsonl"):
            file.write_text("")
        sides.append(str(folder))
    with pytest.raises(UserError, match=r"has 0 rows, variants\.base\.loss\.n is 60"):
        gate_command(*sides)


def test_a_run_held_against_itself_says_so(stored: StoredRun, tmp_path: Path) -> None:
    copied = read_run(shutil.copytree(stored.folder, tmp_path / "old"))
    for other in (stored, copied):
        found = judge(stored, other, RULES)
        assert "fail" not in {gate.verdict for gate in found}
        said = "held against itself, which shows nothing: both sides are 'base' of old. "
        assert all(gate.reason.startswith(said) for gate in found if gate.variant == "base")
    done = CliRunner().invoke(app, ["gate", str(stored.folder), "--baseline", str(stored.folder)])
    assert done.exit_code == 0
    assert "held against itself, which shows nothing" in done.stdout
    qlora, lora = (dataclasses.replace(stored, variant=name) for name in ("qlora", "lora"))
    assert {gate.verdict for gate in judge(qlora, lora, RULES)} > {"fail"}


def test_another_form_of_the_data_is_another_data_set() -> None:
    chat = edited(memory_run("new"), lambda raw: raw["dataset"].update(form="chat"))
    with pytest.raises(UserError, match=r"dataset\.form: 'tables' against 'chat'"):
        judge(chat, memory_run("old"), RULES)


def test_what_one_side_alone_has_is_not_skipped_for_the_form_of_the_data() -> None:
    def chat(raw: Any) -> None:
        raw["dataset"]["form"] = "chat"

    def without(raw: Any) -> None:
        chat(raw)
        for variant in raw["variants"].values():
            variant["execution"] = None

    new, old = edited(memory_run("new"), without), edited(memory_run("old"), chat)
    new = dataclasses.replace(new, rows=dataclasses.replace(new.rows, predictions={}))
    found = {gate.metric: gate for gate in judge(new, old, RULES)}
    assert found["ex"].verdict == "fail"
    assert found["ex"].reason == "not measured in run new"
    bare = edited(memory_run("old"), without)
    bare = dataclasses.replace(bare, rows=new.rows)
    found = {gate.metric: gate for gate in judge(new, bare, RULES)}
    assert found["ex"].verdict == "skipped"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ex": lambda r: r.ex or None}, "has as ex a verdict in the one, null in the other"),
        ({"table_id": "t-0"}, "example 1 is on table t-1 in the one, t-0 in the other"),
    ],
)
def test_sides_that_differ_in_what_no_model_changes_are_not_paired(
    fields: dict[str, Any], said: str
) -> None:
    new = memory_run("new")
    for name in sample_rows().predictions:
        new = with_rows(new, "predictions", every(**fields), name)
    with pytest.raises(UserError, match=said):
        judge(new, memory_run("old"), RULES)


# --- graded again ---------------------------------------------------------------------------------


def answers(edit: Edit = lambda rows: rows, execution: str = "execution@1") -> MemoryRun:
    """Twenty of seed 0's stored answers of lora, as ``edit`` leaves them."""
    run = read_run(SEEDS / "smollm2-mini-seed0")
    protocols = run.results.protocols
    named = execution + "".join(protocols.execution.partition("+")[1:])
    results = run.results.model_copy(
        update={"protocols": protocols.model_copy(update={"execution": named})}
    )
    rows = edit(list(run.predictions("lora") or [])[:20])
    return MemoryRun(Path("nowhere") / "new", results, "lora", RunRows(predictions={"lora": rows}))


def first_wrong(**fields: Any) -> Edit:
    """The first answer that ran and is wrong, with these fields."""

    def edit(rows: list[PredictionRow]) -> list[PredictionRow]:
        place = next(i for i, row in enumerate(rows) if row.ex is False and row.valid)
        return [*rows[:place], rows[place].model_copy(update=fields), *rows[place + 1 :]]

    return edit


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


MINI = resolve_dataset("mini").test


def test_stored_answers_are_graded_as_they_were(cache: Cache) -> None:
    for execution in ("execution@1", EXECUTION):
        run = answers(execution=execution)
        found = regrade(run, MINI, cache)
        assert (found.faults, found.graded, found.otherwise, found.without_text) == ([], 20, 0, 0)
        assert require_regraded(run, MINI, cache) == ""
        assert known_split([run]) is not None


def test_own_data_are_found_where_the_command_of_the_run_found_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "my data"
    own.mkdir()
    for split in ("train", "valid", "test"):
        for end in (".jsonl", ".tables.jsonl"):
            first = (MINI_FOLDER / f"{split}{end}").read_text("utf-8").splitlines()[0]
            (own / f"{split}{end}").write_text(first + "\n", "utf-8")
    data = resolve_dataset(str(own))
    monkeypatch.chdir(tmp_path)

    def run(*command: str) -> MemoryRun:
        def edit(raw: Any) -> None:
            raw["dataset"] |= {"name": data.name, "sha256": data.sha256}
            raw["run"]["command"] = shlex.join(command)

        return edited(answers(), edit)

    for command in (("pytest", "--dataset=my data"), ("tunebench", "--dataset", "my data", "-q")):
        assert known_split([run(*command)]) == data.test
    assert known_split([run("pytest", "--dataset=other")]) is None
    (own / "valid.jsonl").write_text((own / "test.jsonl").read_text("utf-8"), "utf-8")
    shutil.copy(own / "test.tables.jsonl", own / "valid.tables.jsonl")
    assert known_split([run("pytest", "--dataset=my data")]) is None  # other data by now


@pytest.mark.parametrize("execution", ["execution@1", EXECUTION])
def test_a_verdict_that_its_text_cannot_have_is_refused(cache: Cache, execution: str) -> None:
    run = answers(first_wrong(ex=True, ex_official=True), execution)
    said = r"predictions\.lora\.jsonl: id \d+: ex_official is True in the row, False when \"SELECT"
    with pytest.raises(UserError, match=said):
        require_regraded(run, MINI, cache)


def test_a_row_on_another_question_is_refused(cache: Cache) -> None:
    found = regrade(answers(every(table_id="1-1")), MINI, cache)
    assert found.faults[0].endswith("id 0 is no question on table '1-1'")


@pytest.mark.slow
def test_an_older_reader_is_told_apart_from_another_verdict(cache: Cache) -> None:
    otherwise = first_wrong(ex=True, ex_official=True, query=None, sql=None)
    older = answers(otherwise, "execution@1")
    found = regrade(older, MINI, cache)
    assert (found.faults, found.otherwise) == ([], 1)
    said = (
        f"graded by an older reader: 1 of 20 answers of {older.id}, graded by execution@1, are "
        f"read or graded otherwise by {EXECUTION}, so its verdicts cannot be checked. Measure it"
    )
    with pytest.raises(UserError, match=said):
        require_regraded(older, MINI, cache)
    with pytest.raises(UserError, match="ex_official is True in the row"):
        require_regraded(answers(otherwise, EXECUTION), MINI, cache)


def test_answers_without_a_text_are_counted(cache: Cache) -> None:
    note = require_regraded(answers(every(text=None)), MINI, cache)
    assert note.startswith("20 answers of ")
    assert "have no text, so their verdicts were not graded again" in note


def test_what_is_published_has_its_files_and_fits_its_texts() -> None:
    run = answers(first_wrong(ex=True))
    with pytest.raises(UserError) as refused:
        check_evidence([run])
    message = str(refused.value)
    assert message.startswith("cannot be published: ")
    assert "smollm2-mini-seed0 lacks losses.lora.jsonl" in message
    assert "has 20 rows, variants.lora.execution.n is 200" in message
    assert "ex is True in the row, False when" in message


@pytest.mark.slow
def test_every_published_answer_is_graded_as_it_is_stored() -> None:
    check_evidence([read_run(file) for file in sorted((ROOT / "results").rglob("results.json"))])
