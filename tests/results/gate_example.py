"""The example of docs/gates.md: a damaged adapter of smollm2 gated against the published one.

    python tests/results/gate_example.py OUT       # writes the runs that the example gates
    python tests/results/gate_example.py --docs    # writes what it prints into docs/gates.md

`gate_proof/lora.noise.json` (our losses and verdicts on mini of the published lora adapter, with
noise added to its weights) -> OUT/lora-noise, a run like any other, and OUT/quality.toml, the
shipped gates without those of timings and memory, which that evaluation did not take.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import gate_proof
from results_sample import write_compared

from harness.cli.runs import gate_command
from harness.compare.metrics import METRICS
from harness.compare.thresholds import GATES_FILE
from harness.errors import UserError
from harness.report.leaderboard import replace_block
from harness.runs.store import RunRows, StoredRun, dump, read_run
from harness.schema.results import Results
from harness.schema.rows import LossRow, PredictionRow
from harness.stats.intervals import token_weighted_loss
from harness.stats.rates import clustered_rate

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "results" / "smollm2-mini-seeds" / "smollm2-mini-seed0"
VARIANT, CASE = "lora", "noise"
GUIDE = ROOT / "docs" / "gates.md"
START, END = (
    f"<!-- example: python tests/results/{Path(__file__).name} --docs -->",
    "<!-- /example -->",
)
KINDS_START, KINDS_END = (
    f"<!-- metrics: python tests/results/{Path(__file__).name} --docs -->",
    "<!-- /metrics -->",
)
KINDS = {
    "paired quality": ("loss", "rate"),
    "timing": ("timing",),
    "memory": ("memory",),
    "size": ("size",),
}
"""What docs/gates.md calls the kinds of metrics."""
UNMEASURED = ["finetune", "fuse", "memory", "questions", "size", "throughput"]


def write_example(out: Path) -> StoredRun:
    """OUT/lora-noise and OUT/quality.toml."""
    shipped = GATES_FILE.read_text("utf-8")
    out.mkdir(parents=True, exist_ok=True)
    (out / "quality.toml").write_text(shipped.partition("[generation_tokens_per_s]")[0], "utf-8")
    found = gate_proof.read_case(VARIANT, CASE)
    losses = found.rows.losses[VARIANT]
    # The compact rows do not hold these grades.
    unknown = {"ex_official": None, "ex_strict": None, "lf": None}
    answers = [row.model_copy(update=unknown) for row in found.rows.predictions[VARIANT]]
    compact = json.loads((gate_proof.FOLDER / f"{VARIANT}.{CASE}.json").read_text("utf-8"))
    published = dump(read_run(BASELINE).results)
    variant = dict.fromkeys(published["variants"][VARIANT])
    variant |= {
        "config": published["variants"][VARIANT]["config"],
        "adapter": {
            "path": CASE,
            "sha256": compact["adapter_sha256"],
            "iterations": None,
            "source": "given",
        },
        "loss": _loss(losses),
        "execution": _execution(answers),
    }
    run = published["run"] | {
        "id": f"{VARIANT}-{CASE}",
        "started": "not recorded",
        "finished": "not recorded",
        "command": f"python tests/results/{Path(__file__).name}",
        "partial": UNMEASURED,
        "git": {"commit": compact["commit"], "dirty": False},
    }
    changed = published | {"run": run, "variants": {VARIANT: variant}, "comparisons": []}
    rows = RunRows(losses={VARIANT: losses}, predictions={VARIANT: answers})
    return write_compared(out, Results.model_validate(changed), rows)


def _loss(rows: list[LossRow]) -> dict[str, Any]:
    made: dict[str, Any] = {"n": len(rows), "of": len(rows), "mlx_lm_compat": None}
    for name, prefix in (("full_text", "full"), ("completion", "completion")):
        nll = [float(getattr(row, f"{prefix}_nll")) for row in rows]
        tokens = [int(getattr(row, f"{prefix}_tokens")) for row in rows]
        mean = sum(nll) / sum(tokens)
        interval = token_weighted_loss(nll, tokens, [row.table_id for row in rows])
        made[name] = {"loss": mean, "ppl": math.exp(mean), "tokens": sum(tokens)}
        made[name]["ci95"] = interval
    return made


def _execution(rows: list[PredictionRow]) -> dict[str, Any]:
    graded = [row for row in rows if row.ex is not None]
    right = [bool(row.ex) for row in graded]
    return {
        "n": len(rows),
        "of": len(rows),
        "ex": sum(right) / len(graded),
        "ex_hardened": sum(bool(row.ex_hardened) for row in graded) / len(graded),
        "valid": sum(row.valid for row in rows) / len(rows),
        **dict.fromkeys(
            ("ci95", "clustered_ci95"), clustered_rate(right, [row.table_id for row in graded])
        ),
        "degenerate_gold": len(rows) - len(graded),
        "failures": {},
        "by_agg": {},
        "by_conditions": {},
        **dict.fromkeys(("ex_official", "ex_strict", "lf")),
    }


def shown() -> str:
    """The block of docs/gates.md, made in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_example(Path("out"))
        gates = Path("out") / "quality.toml"
        _, text, _ = gate_command(str(Path("out") / "lora-noise"), f"{BASELINE}:lora", gates)
    return text.strip()


def kinds_table() -> str:
    """The table of metrics in docs/gates.md."""
    lines = ["| kind | metrics |", "| --- | --- |"]
    for title, kinds in KINDS.items():
        named = [f"`{metric.key}`" for metric in METRICS.values() if metric.kind in kinds]
        lines.append(f"| {title} | {', '.join(named)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Write the runs, or the guide."""
    if arguments == ["--docs"]:
        text = replace_block(GUIDE.read_text("utf-8"), f"\n{shown()}\n", START, END)
        text = replace_block(text, kinds_table(), KINDS_START, KINDS_END)
        GUIDE.write_text(text, "utf-8")
        print(GUIDE)
    else:
        try:
            print(write_example(Path(arguments[0] if arguments else "out")).folder)
        except UserError as error:
            raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(sys.argv[1:])
