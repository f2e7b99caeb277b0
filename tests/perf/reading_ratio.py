"""Reading canonical answers here against another checkout: a ratio of processor times in one run.

`git worktree add /tmp/old 0cff904; python -m tests.perf.reading_ratio /tmp/old` reads the gold of
every example of WikiSQL's dev split (8,421; else of the mini corpus), written in the dialect, in
processes of both trees by turns, and prints the least time of each and their ratio.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.data.prompts import style
from harness.data.sources.wikisql import load_split
from tests.perf.perf_scoring import source_folder

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5

READ = """
import json, sys, time
from pathlib import Path
from harness.data.records import Table
tables, texts = json.loads(Path(sys.argv[1]).read_text("utf-8"))
tables = [Table(name, tuple(header), tuple(types), ()) for name, header, types in tables]
items = [(text, tables[number]) for text, number in texts]
try:
    from harness.sql.read.bounded import read_all
    from harness.sql.read.reader import Reader
except ImportError:  # before readings had a limit
    from harness.sql.read import Reader
    def read_all(items, reader):
        return [reader.read(text, table) for text, table in items]
least = None
for _ in range(3):
    started = time.process_time()
    found = read_all(items, Reader())
    spent = time.process_time() - started
    least = spent if least is None else min(least, spent)
print(least, sum("Failure(kind=" in repr(one) for one in found))
"""


def main() -> None:
    """Measure and print."""
    folder, split = source_folder()
    loaded = load_split(folder, [split])
    numbers = {name: number for number, name in enumerate(loaded.tables)}
    dialect = style("dialect")
    texts = [
        (dialect.completion(e.gold, loaded.tables[e.table_id]), numbers[e.table_id])
        for e in loaded.examples
    ]
    tables = [(t.id, t.header, t.types) for t in loaded.tables.values()]
    trees = {"here": ROOT, "there": Path(sys.argv[1]).resolve()}
    times: dict[str, list[float]] = {name: [] for name in trees}
    failed = dict.fromkeys(trees, "")
    with tempfile.TemporaryDirectory() as place:
        items = Path(place) / "items.json"
        items.write_text(json.dumps((tables, texts)), encoding="utf-8")
        for _ in range(ROUNDS):
            for name, tree in trees.items():
                command = [sys.executable, "-P", "-c", READ, str(items)]
                environment = {"PYTHONPATH": str(tree), "PATH": ""}
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True
                )
                spent, failed[name] = done.stdout.split()
                times[name].append(float(spent))
    here, there = (min(times[name]) for name in trees)
    print(f"{len(texts):,} texts: {here:.3f} s here, {there:.3f} s there, {here / there:.2f} of it")
    print(f"not read: {failed['here']} here, {failed['there']} there")


if __name__ == "__main__":
    main()
