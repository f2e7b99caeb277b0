"""The table of `make perf`: a row a comparison, kept as they land, rendered to Markdown.

Input: measured values of ours and of the alternative. Output: ``results/performance.json``, one
entry a row, and ``results/PERFORMANCE.md`` rendered from it. A row measured again replaces itself,
so that a run that was cut off goes on where it ended (``MISSING=1``). Measuring is in
``bench_*.py`` and the processes they start; this file never imports MLX.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import psutil

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "results" / "performance.json"
PAGE = ROOT / "results" / "PERFORMANCE.md"

# The order of the page; a row that is not listed comes last.
ORDER = (
    "lora",
    "lora_stock",
    "qlora",
    "products",
    "overhead",
    "generation",
    "projection",
    "test_loss",
    "score",
    "score_texts",
    "hardened",
    "wide_report",
    "wide_compare",
    "wide_page",
    "gated_end",
    "merged",
    "second_run",
    "memory",
    "collect",
    "suite",
)


@dataclass(frozen=True)
class Measured:
    """Values of one side in the order they were taken."""

    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        spread = f" ({low:.3g} to {high:.3g}, n={len(self.values)})" if len(self.values) > 1 else ""
        return f"{self.median:.3g} {self.unit}{spread or ' (n=1)'}"


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    what: str
    against: str
    ours: Measured
    theirs: Measured | None
    """None where the limit is not a ratio of two measurements."""
    ratio: float
    ratio_unit: Literal["x", "%", "s"]
    bar: float
    goal: float
    higher_is_better: bool
    note: str = ""
    reason: str = ""
    """Why the bar is missed, where it is."""

    @property
    def verdict(self) -> str:
        """``goal``, ``bar`` or ``missed``."""
        for name, limit in (("goal", self.goal), ("bar", self.bar)):
            if self.ratio >= limit if self.higher_is_better else self.ratio <= limit:
                return name
        return "missed"


def faster(
    name: str,
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    limits: tuple[float, float],
    unit: str = "s",
    note: str = "",
    reason: str = "",
) -> Row:
    """A row of costs (seconds a unit): how many times less ours is."""
    mine, other = Measured(tuple(ours), unit), Measured(tuple(theirs), unit)
    ratio = other.median / mine.median
    return Row(name, what, against, mine, other, ratio, "x", *limits, True, note, reason)


def stored() -> dict[str, Any]:
    """What was measured so far."""
    if not STORE.exists():
        return {"rows": {}, "tables": {}}
    value: dict[str, Any] = json.loads(STORE.read_text(encoding="utf-8"))
    return value


def have(name: str) -> bool:
    """Whether a resumed run may leave ``name`` out: measured on this commit and machine."""
    if os.environ.get("MISSING") != "1":
        return False
    known = stored()
    entry = known["rows"].get(name) or known["tables"].get(name)
    here = where()
    return entry is not None and all(entry["where"][k] == here[k] for k in ("commit", "node"))


def keep(row: Row) -> None:
    """Store a row and render the page anew."""
    record = asdict(row) | {"verdict": row.verdict, "where": where()}
    _put("rows", row.name, record)
    print(f"\n{row.name}: {_ratio(record)} ({row.verdict}); ours {row.ours}; theirs {row.theirs}")


def keep_table(
    name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
) -> None:
    """Store a free table of the page: shares by stage, growth."""
    _put(
        "tables",
        name,
        {
            "title": title,
            "header": list(header),
            "rows": [list(row) for row in rows],
            "note": note,
            "where": where(),
        },
    )


def _put(kind: str, name: str, record: dict[str, Any]) -> None:
    from harness.disk.files import write_json, write_text

    known = stored()
    known[kind][name] = record
    write_json(STORE, known)
    write_text(PAGE, render(known))


def where() -> dict[str, Any]:
    """Machine, versions and time of a measurement."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "measured_at": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "commit": commit,
        "node": platform.node(),
        "chip": _chip(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("mlx", "mlx-lm", "duckdb", "numpy")},
    }


def _chip() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio_unit"] == "%":
        return f"{100 * row['ratio']:.2g}%"
    return f"{row['ratio']:.3g}{'x' if row['ratio_unit'] == 'x' else ' s'}"


def _limit(row: dict[str, Any], key: str) -> str:
    sign = "≥" if row["higher_is_better"] else "≤"
    value = row[key]
    return (
        f"{sign} {100 * value:g}%"
        if row["ratio_unit"] == "%"
        else f"{sign} {value:g}" + ("x" if row["ratio_unit"] == "x" else " s")
    )


def _side(side: dict[str, Any] | None) -> str:
    return "" if side is None else str(Measured(tuple(side["values"]), side["unit"]))


def render(known: dict[str, Any]) -> str:
    """The page."""
    rows, tables = known["rows"], known["tables"]
    entries = [*rows.values(), *tables.values()]
    first = max(entries, key=lambda entry: entry["where"]["measured_at"])["where"]
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    lines = [
        "# Performance",
        "",
        f"`make perf` on {first['chip']}, {first['cores']} cores, {first['memory_gb']} GB, Python "
        f"{first['python']}, {versions}. Median (smallest to largest, n). The two sides of a row "
        "take turns in one run. No CUDA device was at hand: the table on CUDA is not measured.",
        "",
        "| what | against | ours | theirs | ratio | bar | goal | reached |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = sorted(rows, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    for name in names:
        row = rows[name]
        lines.append(
            f"| {row['what']} | {row['against']} | {_side(row['ours'])} | {_side(row['theirs'])} "
            f"| **{_ratio(row)}** | {_limit(row, 'bar')} | {_limit(row, 'goal')} "
            f"| {row['verdict']} |"
        )
    lines.append("")
    for name in names:
        row, at = rows[name], rows[name]["where"]
        load = f", load {at['load']}" if at["load"] > 1.5 else ""
        command = f'`make perf ROWS="{name}"`, {at["measured_at"]}, commit {at["commit"]}{load}'
        missed = f". Missed: {row['reason']}" if row["verdict"] == "missed" else ""
        lines.append(f"- **{name}**: {row['note']}{missed} ({command})".replace(":  (", ": ("))
    for name in sorted(tables, reverse=True):
        table = tables[name]
        lines += ["", f"## {table['title']}", "", _line(table["header"])]
        lines.append(_line(["---"] * len(table["header"])))
        lines += [_line(row) for row in table["rows"]]
        if table["note"]:
            lines += ["", table["note"]]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
