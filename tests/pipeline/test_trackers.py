"""Trackers of `report_to`: the curve as it comes, the metrics at the end, never a failed run.

The tracker is a module on disk that writes down how it is called.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.pipeline.trackers import Subject, Trackers, missing
from harness.schema.variant_result import CurvePoint
from harness.train.variant import Variant
from harness.train.variants import load_variants

ROOT = Path(__file__).resolve().parents[2]

RECORDER = """
import json, os, pathlib

def note(**fields):
    with open({log!r}, "a") as stream:
        stream.write(json.dumps(fields) + "\\n")

class Run:
    def __init__(self, name):
        self.name = name
    def log(self, values, step=None):
        note(call="log", run=self.name, step=step, values=values)
    def finish(self):
        note(call="finish", run=self.name)

def init(project, name, config):
    note(call="init", project=project, run=name, rank=config["lora_parameters"]["rank"])
    return Run(name)
"""
FAILING = "def init(**settings):\n    raise ConnectionError('no route to host')\n"


def point(iteration: int, loss: float | None = None) -> CurvePoint:
    return CurvePoint(
        iteration=iteration,
        updates=iteration,
        train_loss=loss,
        val_loss=None,
        tokens_per_s=None,
        supervised_tokens_per_s=None,
    )


def calls_in(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with trackers `trackio` and `wandb`, of which the second fails, on sys.path."""
    (tmp_path / "trackio.py").write_text(RECORDER.format(log=str(tmp_path / "log")))
    (tmp_path / "wandb.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("trackio", "wandb"):
        sys.modules.pop(name, None)


def lora(report_to: str) -> Variant:
    return load_variants(["lora"], {"report_to": report_to})[0]


def trackers_of(variant: Variant, told: list[str], folder: Path) -> Trackers:
    subject = Subject("mine", f"RUN:{variant.name}", variant.config(), folder)
    return Trackers(subject, variant.report_to, told.append)


def test_the_curve_goes_out_row_by_row_and_the_metrics_at_the_end(installed: Path) -> None:
    told: list[str] = []
    found = trackers_of(lora("trackio"), told, installed)
    found.row(point(0))
    found.row(point(10, 2.5))
    sent = calls_in(installed / "log")
    assert sent[0] == {"call": "init", "project": "mine", "run": "RUN:lora", "rank": 8}
    assert sent[2]["step"] == 10
    assert sent[2]["values"] == {"updates": 10, "train_loss": 2.5}
    found.end([point(0), point(10, 2.5)], {"ex": 0.5})
    final = {"call": "log", "run": "RUN:lora", "step": 10, "values": {"final/ex": 0.5}}
    assert calls_in(installed / "log")[3:] == [final, {"call": "finish", "run": "RUN:lora"}]
    assert told == []


def test_a_curve_from_the_cache_goes_out_with_the_metrics(installed: Path) -> None:
    found = trackers_of(lora("trackio"), [], installed)
    found.end([point(0), point(10, 2.5)], {"ex": 0.5})
    steps = [one["step"] for one in calls_in(installed / "log") if one["call"] == "log"]
    assert steps == [0, 10, 10]


def test_a_tracker_that_fails_costs_one_line_and_nothing_of_the_others(installed: Path) -> None:
    told: list[str] = []
    found = trackers_of(lora("wandb, trackio"), told, installed)
    found.row(point(0))
    found.end([point(0)], {"ex": 0.5})
    assert told == [
        "report_to: wandb failed and gets nothing more: ConnectionError: no route to host"
    ]
    assert [one["call"] for one in calls_in(installed / "log")] == ["init", "log", "log", "finish"]


def test_a_tracker_that_is_not_installed_is_one_line_that_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swanlab").mkdir()  # what it leaves in a folder is not the package
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert missing(lora("swanlab,mlflow")) == [
        "lora: report_to: swanlab is not installed, so nothing is sent to it; pip install swanlab",
        "lora: report_to: mlflow is not installed, so nothing is sent to it; pip install mlflow",
    ]
    found = trackers_of(lora("swanlab"), told := [], tmp_path)
    found.end([], {"ex": 0.5})
    assert told == []


def test_report_to_names_known_trackers_and_decides_no_training() -> None:
    assert lora("wandb,Trackio").report_to == ("wandb", "trackio")
    assert load_variants(["lora"], {"report_to": "[mlflow]"})[0].report_to == ("mlflow",)
    with pytest.raises(UserError, match="Did you mean 'wandb'"):
        lora("wandbb")
    with pytest.raises(UserError, match="comma list"):
        lora("3")
    plain = load_variants(["lora"])[0]
    assert lora("wandb").training_config() == plain.training_config()
    assert lora("wandb").mlx_lm_config() == plain.mlx_lm_config()


@pytest.mark.slow
def test_a_run_reports_while_it_trains_and_from_the_cache(tmp_path: Path, two_layers: Path) -> None:
    (tmp_path / "lib").mkdir()
    log = tmp_path / "log"
    (tmp_path / "lib" / "trackio.py").write_text(RECORDER.format(log=str(log)))
    variant = tmp_path / "mine.yaml"
    text = "report_to: trackio\nproject_name: p\niters: 4\nnum_layers: 2\nsteps_per_report: 2\n"
    variant.write_text(text)
    paths = os.pathsep.join([str(tmp_path / "lib"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    sent = []
    for name in ("first", "again"):
        command = [
            *(sys.executable, "-m", "pytest", "suites/", "-q", "-k", "finetune or loss"),
            *(f"--model={two_layers}", f"--variant={variant}", "--limit=8"),
            *(f"--results-dir={tmp_path / 'runs'}", f"--run-name={name}"),
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        sent.append(calls_in(log))
        log.unlink()
    for name, calls in zip(("first", "again"), sent, strict=True):
        assert calls[0] == {"call": "init", "project": "p", "run": f"{name}:mine", "rank": 8}
        assert [one["step"] for one in calls[1:-1]] == [0, 1, 2, 4, 4]
        assert calls[-1] == {"call": "finish", "run": f"{name}:mine"}
        final = calls[-2]["values"]
        assert {"final/full_text_loss", "final/full_text_perplexity"} <= final.keys()
    assert (
        sent[0][-2]["values"]["final/full_text_loss"]
        == (sent[1][-2]["values"]["final/full_text_loss"])
    )
