"""The compact runs behind the proof of the gates: `gate_proof/*.json` <-> rows of a stored run.

`examples.json` holds what all runs share (ids, tables, target tokens); `<variant>.<case>.json`
what differs (summed losses, and one character an example for ex, ex_hardened and valid: 1 right,
0 wrong, - not graded). Cases: `seed0`, `seed1`, ... are retrainings of one variant; `noise`,
`scale` and `quarter` are seed 0 damaged on purpose (`damage.py`). `store_gate_proof.py` writes
them from run folders; texts and SQL are left out.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from results_sample import MemoryRun, sample_results, trial_rows

from harness.runs.store import RunRows
from harness.schema.rows import LossRow, PredictionRow

FOLDER = Path(__file__).with_name("gate_proof")
MARKS = {True: "1", False: "0", None: "-"}
READ = {"1": True, "0": False, "-": None}
FLAGS = ("ex", "ex_hardened", "valid")


def shared(losses: list[LossRow]) -> dict[str, Any]:
    """What every run of the proof has in common."""
    return {
        "ids": [row.id for row in losses],
        "table_ids": [row.table_id for row in losses],
        "full_tokens": [row.full_tokens for row in losses],
        "completion_tokens": [row.completion_tokens for row in losses],
    }


def compact(losses: list[LossRow], predictions: list[PredictionRow]) -> dict[str, Any]:
    """What one run adds to :func:`shared`."""
    return {
        "full_nll": [round(row.full_nll, 3) for row in losses],
        "completion_nll": [round(row.completion_nll, 4) for row in losses],
        **{flag: "".join(MARKS[getattr(row, flag)] for row in predictions) for flag in FLAGS},
    }


def rows_of(examples: dict[str, Any], case: dict[str, Any]) -> RunRows:
    """The rows of one compact run."""
    losses, predictions = [], []
    for place, (number, table) in enumerate(
        zip(examples["ids"], examples["table_ids"], strict=True)
    ):
        losses.append(
            LossRow(
                id=number,
                table_id=table,
                full_nll=case["full_nll"][place],
                full_tokens=examples["full_tokens"][place],
                completion_nll=case["completion_nll"][place],
                completion_tokens=examples["completion_tokens"][place],
            )
        )
        ex, hardened, valid = (READ[case[flag][place]] for flag in FLAGS)
        predictions.append(
            PredictionRow(
                id=number, table_id=table, text=None, ex_official=bool(ex), lf=bool(ex), ex=ex,
                ex_strict=ex, ex_hardened=hardened, valid=bool(valid), failure=None, query=None,
                sql=None,
            )
        )  # fmt: skip
    name = case["variant"]
    return RunRows({name: losses}, {name: predictions}, {name: trial_rows(name)})


def run_of(name: str, rows: RunRows, sha256: str) -> MemoryRun:
    """Rows as a run whose adapter has this digest."""
    results = sample_results(name, rows)
    variants = {
        variant: result.model_copy(
            update={"adapter": result.adapter and result.adapter.model_copy(
                update={"sha256": sha256}
            )}
        )
        for variant, result in results.variants.items()
    }  # fmt: skip
    results = results.model_copy(update={"variants": variants})
    return MemoryRun(Path("nowhere") / name, results, None, rows)


def read_case(variant: str, case: str, folder: Path = FOLDER) -> MemoryRun:
    """One compact run as a stored one."""
    examples = json.loads((folder / "examples.json").read_text("utf-8"))
    found = json.loads((folder / f"{variant}.{case}.json").read_text("utf-8"))
    return run_of(f"{variant}-{case}", rows_of(examples, found), found["adapter_sha256"])


def cases(folder: Path = FOLDER) -> list[tuple[str, str]]:
    """(variant, case) of every compact run."""
    named = (file.name.split(".")[:2] for file in sorted(folder.glob("*.*.json")))
    return [(variant, case) for variant, case in named]


def degraded(run: MemoryRun, variant: str, flag: str, count: int) -> MemoryRun:
    """The run with ``count`` right answers, spread over the split, turned wrong in ``flag``."""
    rows = list(run.rows.predictions[variant])
    right = [place for place, row in enumerate(rows) if getattr(row, flag)]
    for place in right[:: max(1, len(right) // count)][:count]:
        rows[place] = rows[place].model_copy(update={flag: False})
    changed = dataclasses.replace(run.rows, predictions={variant: rows})
    return run_of(f"{run.id}-degraded", changed, "ee" * 32)
