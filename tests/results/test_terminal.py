"""The end of a run on a terminal: fitted, in words, plain without colour, what to do next."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from results_sample import MemoryRun, memory_run, sample_rows
from test_results_report import check_golden

from harness.compare.analysis import analyse
from harness.compare.metrics import best_of
from harness.markdown import encodable
from harness.report.terminal import next_command, plain, terminal_summary


@pytest.fixture(scope="module")
def run() -> MemoryRun:
    return memory_run()


def commanded(run: MemoryRun, command: str) -> MemoryRun:
    record = run.results.run.model_copy(update={"command": command})
    return replace(run, results=run.results.model_copy(update={"run": record}))


@pytest.mark.parametrize("width", [80, 120])
def test_the_end_of_a_run_is_the_golden_one(run: MemoryRun, width: int) -> None:
    check_golden(f"terminal_{width}.txt", terminal_summary(analyse([run]), width, colour=False))


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_but_a_path_or_a_command_is_wider_than_the_terminal(
    run: MemoryRun, width: int
) -> None:
    lines = terminal_summary(analyse([run]), width, colour=False).split("\n")
    paths = ("results:", "report:", "page:", "next:")
    assert max(len(line) for line in lines if not line.startswith(paths)) <= width


def test_colour_is_written_only_where_it_is_asked_for(run: MemoryRun) -> None:
    analysis = analyse([run])
    plainly, coloured = (terminal_summary(analysis, 80, colour) for colour in (False, True))
    assert "\x1b" not in plainly
    assert "\x1b[32mbetter by 63.8 points\x1b[0m" in coloured
    assert re.sub(r" +$", "", re.sub(r"\x1b\[[0-9;]*m", "", coloured), flags=re.M) == plainly


def test_an_old_terminal_is_given_plain_lines(run: MemoryRun) -> None:
    shown = encodable(terminal_summary(analyse([run]), 80, colour=False), "ascii")
    assert "?" not in shown


def test_the_text_of_markdown_is_kept_and_its_marks_are_not() -> None:
    assert plain("**`lora` is better than `a\\_b`** &lt;1") == "lora is better than a_b <1"


@pytest.mark.parametrize(
    ("variants", "command", "following"),
    [
        (
            ("lora",),
            "pytest suites/ --variant=lora --limit=20 --run-name=x",
            "pytest suites/ --limit=20 --variant=base,lora",
        ),
        (
            ("base", "lora"),
            "pytest suites/ --variant base --variant lora --seed 3",
            "pytest suites/ --variant=base,lora --seeds=0,1,2",
        ),
        (("base", "lora"), "pytest suites/ --variant=base,lora --seeds=0,1", ""),
        (("base",), "pytest suites/ --variant=base", ""),
        (
            ("lora-rank4", "lora-rank8"),
            "pytest suites/ --variant lora --sweep lora_parameters.rank=4,8",
            "pytest suites/ --sweep lora_parameters.rank=4,8 --variant=base,lora",
        ),
        (
            ("lora-rank4", "qlora-rank4"),
            "pytest suites/ --sweep=lora_parameters.rank=4",
            "pytest suites/ --sweep=lora_parameters.rank=4 --variant=base,lora,qlora",
        ),
        (("lora",), "pytest suites/ --variant=lora --baseline=results/a", ""),
    ],
)
def test_the_next_command_asks_what_the_run_left_open(
    variants: tuple[str, ...], command: str, following: str
) -> None:
    run = commanded(memory_run(rows=sample_rows(variants)), command)
    assert next_command(run) == following


def test_the_next_command_has_the_paths_that_were_typed() -> None:
    run = commanded(memory_run(rows=sample_rows(("lora",))), "pytest suites/ --dataset=…/mine")
    shown = terminal_summary(analyse([run]), 80, False, "pytest suites/ --dataset=/data/mine")
    assert "next:    pytest suites/ --dataset=/data/mine --variant=base,lora,qlora" in shown


def test_seeds_are_proposed_only_where_something_was_trained() -> None:
    run = commanded(memory_run(rows=sample_rows(("base", "lora"))), "tunebench bench --variant=a,b")
    results = run.results.variants
    untrained = {name: one.model_copy(update={"finetune": None}) for name, one in results.items()}
    assert next_command(run).endswith("--seeds=0,1,2")
    assert not next_command(
        replace(run, results=run.results.model_copy(update={"variants": untrained}))
    )


def test_the_adapter_that_is_proposed_answers_best_and_then_predicts_best() -> None:
    results = memory_run(rows=sample_rows(("base", "lora", "qlora"))).results.variants
    base, lora = results["base"], results["lora"]
    assert base.execution is not None
    assert lora.execution is not None
    assert lora.loss is not None
    better = lora.execution.model_copy(update={"ex": 0.9})
    first = lora.model_copy(update={"execution": better})
    lower = lora.loss.full_text.model_copy(update={"loss": 0.01})
    loss = lora.loss.model_copy(update={"completion": lower, "full_text": lower})
    assert best_of([lora, first]) == 1
    assert best_of([first, lora.model_copy(update={"loss": loss})]) == 0
    assert best_of([first, first.model_copy(update={"loss": loss})]) == 1
    # Loss decides where one has no answers.
    assert best_of([first, lora.model_copy(update={"loss": loss, "execution": None})]) == 1
    assert best_of([lora, lora]) == 0
