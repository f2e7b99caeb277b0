"""Make `gate_proof/*.json` from run folders, and print the spread between seeds.

    python tests/results/store_gate_proof.py --seeds RUN... --damaged FOLDER [--out FOLDER]

Each RUN is a seed of the shipped variants; FOLDER holds runs named VARIANT-CASE (`lora-noise`).
Input: stored runs with their losses and predictions -> output: compact files (`gate_proof.py`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import gate_proof

from harness.compare.metrics import METRICS
from harness.runs.store import StoredRun, read_run

SHOWN = ("completion_loss", "ex", "ex_hardened", "valid")


def store(run: StoredRun, variant: str, case: str, out: Path) -> None:
    """Write one compact run; every run must have asked the same examples."""
    losses, predictions = run.losses(variant), run.predictions(variant)
    adapter = run.results.variants[variant].adapter
    if not losses or not predictions or adapter is None:
        raise SystemExit(f"{run.folder}: {variant} lacks losses, predictions or an adapter")
    shared = gate_proof.shared(losses)
    common = out / "examples.json"
    if not common.exists():
        write(common, shared)
    elif json.loads(common.read_text("utf-8")) != shared:
        raise SystemExit(f"{run.folder}: other examples than {common}; remove it to start anew")
    write(
        out / f"{variant}.{case}.json",
        {
            "variant": variant,
            "case": case,
            "commit": run.results.run.git.commit,
            "adapter_sha256": adapter.sha256,
            **gate_proof.compact(losses, predictions),
        },
    )


def write(file: Path, value: dict[str, Any]) -> None:
    """One key a line, so that a change shows in a diff."""
    lines = [f"{json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def tell_spread(runs: list[StoredRun]) -> None:
    """What margins must lie above: standard deviation and largest difference between seeds."""
    for variant, metric in itertools.product(runs[0].variants, SHOWN):
        found = [METRICS[metric].value(run.results.variants[variant]) for run in runs]
        values = [value for value in found if value is not None]
        if len(values) > 1:
            shown = ", ".join(f"{value:.4f}" for value in values)
            print(
                f"{variant} {metric}: {shown}; standard deviation "
                f"{statistics.stdev(values):.4f}, largest difference "
                f"{max(values) - min(values):.4f}"
            )


def main() -> None:
    """Store every run that was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", required=True, help="run folders, one a seed")
    parser.add_argument("--damaged", type=Path, help="folder of runs named VARIANT-CASE")
    parser.add_argument("--out", type=Path, default=gate_proof.FOLDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = [read_run(where) for where in options.seeds]
    variants = [name for name in seeds[0].variants if seeds[0].results.variants[name].adapter]
    for run in seeds:
        for variant in variants:
            store(run, variant, f"seed{run.results.run.seed}", options.out)
    for folder in sorted(options.damaged.glob("*-*")) if options.damaged else []:
        variant, _, case = folder.name.rpartition("-")
        store(read_run(folder), variant, case, options.out)
    tell_spread(seeds)
    print(f"{sum(f.stat().st_size for f in options.out.iterdir()):,} bytes in {options.out}")


if __name__ == "__main__":
    main()
