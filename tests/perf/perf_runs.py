"""What stored runs of the real job's size cost: processor seconds and memory, a command a process.

`python tests/perf/perf_runs.py COMMAND RUN…` prints one JSON object. Parsing every line of the same
files once with Python's own json is what the commands are held against.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def spent() -> float:
    """Processor seconds of this process and of the children that ended."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, both))


def parse(*runs: str) -> dict[str, Any]:
    """Parse every row file of the runs."""
    for run in runs:
        for file in Path(run).glob("*.jsonl"):
            with file.open(encoding="utf-8") as stream:
                _ = [json.loads(line) for line in stream]
    return {}


def report(*runs: str) -> dict[str, Any]:
    """`tunebench report RUN…`."""
    from harness.cli.runs import report_command

    report_command(runs)
    return {}


def compare(run: str) -> dict[str, Any]:
    """`tunebench compare` of the run's first variant with each of the others."""
    from harness.cli.runs import compare_command
    from harness.runs.store import read_run

    compare_command(*(f"{run}:{name}" for name in read_run(run).variants))
    return {}


def page(*runs: str) -> dict[str, Any]:
    """`tunebench report RUN… --html --out DIR`."""
    from harness.cli.runs import report_command
    from harness.runs.file_names import PAGE_FILE

    with tempfile.TemporaryDirectory() as folder:
        report_command(runs, Path(folder), html=True)
        return {"page_bytes": (Path(folder) / PAGE_FILE).stat().st_size}


def gated_end(run: str, baseline: str, variant: str) -> dict[str, Any]:
    """What a gated pytest run of one variant does once all is measured: verdicts, then the folder.

    Seconds of the verdicts and of the folder (rows, report, charts, page) apart.
    """
    from harness.compare.analysis import analyse
    from harness.compare.gates import judge
    from harness.compare.regrade import known_split
    from harness.compare.thresholds import load_gates
    from harness.report.changed_examples import changed_examples
    from harness.report.write import write_run
    from harness.runs.store import PendingRun, RunRows, read_run

    stored, old = read_run(run), read_run(baseline)
    rows = RunRows(
        losses={variant: stored.losses(variant) or ()},
        predictions={variant: stored.predictions(variant) or ()},
    )
    of_one = {variant: stored.results.variants[variant]}
    results = stored.results.model_copy(update={"variants": of_one})
    old = dataclasses.replace(old, variant=variant)
    _ = old.losses(variant), old.predictions(variant)
    with tempfile.TemporaryDirectory() as folder:
        split = known_split([stored])  # a run has it in memory
        pending = PendingRun(Path(folder) / "end", results, None, rows, split)
        started = spent()
        verdicts = judge(pending, old, load_gates())
        changed_examples(pending, old, verdicts, None)
        judged = spent()
        results = results.model_copy(update={"run": results.run.model_copy(update={"id": "end"})})
        pending = dataclasses.replace(pending, results=results)
        write_run(pending, analyse([pending]))
        return {"judged": judged - started, "written": spent() - judged}


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function for function in (parse, report, compare, page, gated_end)
}


if __name__ == "__main__":
    found = COMMANDS[sys.argv[1]](*sys.argv[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cpu": spent(), "peak": peak, **found}))
