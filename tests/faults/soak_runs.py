"""Runs in one process, as often as asked: after each, what the process holds, as JSON lines.

Started by `test_soak.py` as ``python soak_runs.py COUNT FOLDER OUTPUT``; FOLDER holds a cache in
which every stage of the run is already.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.cli.scoring import run_score
from harness.disk.cache import Cache
from harness.schema.stage_results import OPEN, OpenRequest
from harness.worker.client import Worker

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--model=tiny", "--variant=base", "--limit=8", "-k", "loss or execution"]


TRAINED = ["--model=tiny", "--variant=lora", "--limit=4", "--no-cache", "--set", "iters=2"]
TRAINED += ["--set", "val_batches=1", "-k", "finetune or loss or execution"]


def bench(folder: Path, number: int, options: Sequence[str] = OPTIONS) -> None:
    """The documented command on a cache that holds everything."""
    arguments = [str(ROOT / "suites"), "-q", "-c", str(ROOT / "pyproject.toml"), *options]
    arguments += [f"--rootdir={ROOT}", f"--results-dir={folder / 'runs'}"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert pytest.main([*arguments, f"--run-name=soak{number}", "-p", "no:cacheprovider"]) == 0


def train(folder: Path, number: int) -> None:
    """The documented command with nothing in a cache: trained, answered and graded anew."""
    bench(folder, number, TRAINED)


def score(folder: Path, number: int) -> None:
    """`score` on a cache that holds gold."""
    out = folder / f"scores{number}.jsonl"
    run_score(ROOT / "fixtures" / "mini", "test", folder / "p.jsonl", "text", 1, out, Cache())


def model(folder: Path, number: int) -> None:
    """A model process: started, asked, ended."""
    request = OpenRequest(
        model="tiny",
        variant={"name": "base", "fine_tune_type": "base"},
        dataset="mini",
        prompt_style="dialect",
        cache_root=str(Cache().root),
    )
    with contextlib.closing(Worker("soak")) as worker:
        worker.call(OPEN, request)


def held() -> dict[str, Any]:
    """What this process holds now."""
    process, temporary = psutil.Process(), Path(tempfile.gettempdir())
    return {
        "rss": process.memory_info().rss,
        "files": process.num_fds(),
        "threads": threading.active_count(),
        "children": len(process.children(recursive=True)),
        "temporary": sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*")),
    }


def main() -> None:
    """COUNT runs of the four kinds in turn, those that start models the rarest."""
    count, folder, output = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    with output.open("w") as stream:
        for number in range(count):
            rare = {10: model, 3: train, 13: train}.get(number % 20)
            kind = rare or (bench, score)[number % 2]
            kind(folder, number)
            stream.write(json.dumps({"kind": kind.__name__, **held()}) + "\n")
            stream.flush()


if __name__ == "__main__":
    main()
