"""A user's own questions with SQL and tables -> a folder in WikiSQL's format, in three splits.

Input: files (`sources/own_tables.py`), of whose tables one has questions and SQL, and what reads
that SQL. Output: :class:`Imported`, and its files. The files that were read are left as they are;
the folder appears whole or not at all. How the questions are parted: whole tables to a split, so
that a model is asked about tables that it never saw; where there are fewer than three, by question.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.data.leakage import normalized
from harness.data.records import Cell, SqlGold, Table
from harness.data.sources.jsonlines import BadLine, line_problems
from harness.data.sources.own_tables import KINDS, Sheet, read_sheets
from harness.data.sources.wikisql import GoldReader, one_line
from harness.disk.files import (
    check_writable,
    remove,
    remove_abandoned,
    temporary_prefix,
    write_jsonl,
    writing,
)
from harness.errors import UserError, unknown

SHARES = {"test": 0.2, "valid": 0.1}
"""The least share of the questions; training takes the rest."""

_COLUMNS = {
    "question": ("question",),
    "sql": ("sql", "query"),
    "table": ("table", "table_id", "table_name"),
}
"""What the file of questions may call its columns, in any case."""

_FROM = re.compile(r"\bfrom\s+(?:\"([^\"]+)\"|`([^`]+)`|\[([^\]]+)\]|([\w.-]+))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with its SQL, read, on the table ``table_id``."""

    table_id: str
    question: str
    gold: SqlGold


@dataclass(frozen=True, slots=True)
class Imported:
    """The pairs of each split and the tables by id; ``by`` is what was parted, `table` or
    `question`; ``left_out`` are the lines of pairs that cannot be gold, with the reasons."""

    splits: Mapping[str, Sequence[Pair]]
    tables: Mapping[str, Table]
    by: str
    left_out: Sequence[str]


def import_files(
    sources: Sequence[Path], read_golds: GoldReader, seed: int = 0, skip: bool = False
) -> Imported:
    """Read and part the questions of ``sources``, files or folders of files.

    Args:
        sources: together they hold one table of questions with SQL, and the tables asked about.
        read_golds: as for :func:`harness.data.sources.wikisql.load_split`.
        seed: decides which tables or questions go to which split.
        skip: leave out pairs that cannot be gold, instead of refusing them.

    Raises:
        UserError: no such file, no questions, fewer than three, a table named twice, or pairs that
            cannot be gold, each with its line.
    """
    questions, tables = _sheets(sources)
    pairs, problems = _pairs(questions, tables, read_golds)
    if problems and not skip:
        error = line_problems(problems)
        raise UserError(f"{error}\nPut them right, or leave them out with --skip-unreadable.")
    used = {pair.table_id for pair in pairs}
    by = "table" if len(used) >= 3 else "question"
    units = [pair.table_id if by == "table" else normalized(pair.question) for pair in pairs]
    parts = _parted(units, seed)
    splits: dict[str, list[Pair]] = {name: [] for name in ("train", *reversed(SHARES))}
    for pair, unit in zip(pairs, units, strict=True):
        splits[parts[unit]].append(pair)
    return Imported(splits, {id: tables[id] for id in tables if id in used}, by, problems)


def check_new_folder(out: Path) -> None:
    """Refuse a folder that cannot be made, or holds something.

    Raises:
        UserError: the message says which.
    """
    check_writable(out, "--out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} is there already. Name a new folder, or move it away.")


def write_folder(imported: Imported, out: Path) -> None:
    """Write `<split>.jsonl` and `<split>.tables.jsonl` of every split into the new folder ``out``.

    Raises:
        UserError: as :func:`check_new_folder`, or the disk refuses.
    """
    check_new_folder(out)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out.parent, out.name)
        folder = Path(tempfile.mkdtemp(prefix=temporary_prefix(out.name), dir=out.parent))
        try:
            for name, pairs in imported.splits.items():
                rows = [
                    {"table_id": pair.table_id, "question": pair.question, "sql": pair.gold.text}
                    for pair in pairs
                ]
                used = dict.fromkeys(pair.table_id for pair in pairs)
                write_jsonl(folder / f"{name}.jsonl", rows)
                write_jsonl(
                    folder / f"{name}.tables.jsonl", [asdict(imported.tables[id]) for id in used]
                )
            folder.chmod(0o755)
            if out.exists():
                out.rmdir()
            folder.replace(out)
        except BaseException:
            remove(folder)
            raise


def _sheets(sources: Sequence[Path]) -> tuple[Sheet, dict[str, Table]]:
    """The table of questions, and all others by id."""
    found = [sheet for path in _files(sources) for sheet in read_sheets(path)]
    asked = [sheet for sheet in found if {"question", "sql"} <= _places(sheet).keys()]
    if len(asked) != 1:
        told = "; ".join(f"{one.path}: {', '.join(one.header)}" for one in asked or found)
        raise UserError(
            f"one table must have a column question and a column sql (or query), and "
            f"{len(asked) or 'none'} of these has: {told or 'no table at all'}"
        )
    tables: dict[str, Table] = {}
    for sheet in found:
        if sheet is asked[0]:
            continue
        if sheet.name in tables:
            raise UserError(f"two tables are called {sheet.name!r}: rename the file {sheet.path}")
        tables[sheet.name] = sheet.table()
    if not tables:
        raise UserError(
            f"{asked[0].path} has the questions, and nothing the table: name its file too, e.g. "
            "tunebench import questions.csv players.csv --out DIR"
        )
    return asked[0], tables


def _files(sources: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.is_file())
            files += [path for path in inside if path.suffix.lower() in KINDS]
        elif not source.is_file():
            raise UserError(f"{source} does not exist.")
        elif source.suffix.lower() not in KINDS:
            raise unknown("kind of file", source.name, KINDS)
        else:
            files.append(source)
    return files


def _places(sheet: Sheet) -> dict[str, int]:
    """Where the columns of questions stand in a table, those that it has."""
    names = [name.strip().lower() for name in sheet.header]
    return {
        meaning: names.index(spelled)
        for meaning, spellings in _COLUMNS.items()
        for spelled in reversed(spellings)
        if spelled in names
    }


def _pairs(
    questions: Sheet, tables: Mapping[str, Table], read_golds: GoldReader
) -> tuple[list[Pair], list[str]]:
    """The pairs that can be gold, and what is wrong with the others, in the order of lines."""
    asked: list[tuple[int, str, str, Table]] = []
    wrong: dict[int, BadLine] = {}
    places = _places(questions)
    for line, row in zip(questions.lines, questions.rows, strict=True):
        cells = {meaning: row[place] for meaning, place in places.items()}
        try:
            question, sql = (_text(cells[meaning], meaning) for meaning in ("question", "sql"))
            asked.append((line, question, one_line(sql), _table(cells.get("table"), sql, tables)))
        except BadLine as problem:
            wrong[line] = problem
    golds = read_golds([(sql, table) for _, _, sql, table in asked])
    pairs = []
    for (line, question, _, table), gold in zip(asked, golds, strict=True):
        if isinstance(gold, BadLine):
            wrong[line] = BadLine(f"sql cannot be read: {gold}")
        else:
            pairs.append(Pair(table.id, question, gold))
    return pairs, [f"{questions.path}:{line}: {wrong[line]}" for line in sorted(wrong)]


def _text(cell: Cell, what: str) -> str:
    if not isinstance(cell, str) or not cell.strip():
        raise BadLine(f"the {what} is empty" if not cell else f"the {what} is {cell}, not text")
    return cell.strip()


def _table(named: Cell, sql: str, tables: Mapping[str, Table]) -> Table:
    """The table that a pair names, the only one, or the one in its FROM."""
    if named is None and len(tables) == 1:
        return next(iter(tables.values()))
    if named is None:
        found = _FROM.search(sql)
        named = next((name for name in found.groups() if name), "") if found else ""
    same = [table for id, table in tables.items() if id.casefold() == str(named).casefold()]
    if len(same) != 1 and str(named) not in tables:
        raise BadLine(f"no table is called {str(named)!r:.60}; there are {', '.join(tables):.200}")
    return tables[str(named)] if str(named) in tables else same[0]


def _parted(units: Iterable[str], seed: int) -> dict[str, str]:
    """Each unit's split: units in a seeded order go to test, then to validation, until these have
    their shares; the others and the largest are trained on."""
    sizes = Counter(units)
    if len(sizes) < 3:
        raise UserError(
            f"three different questions are needed, one for each split, and there are {len(sizes)}"
        )
    parts = dict.fromkeys(sizes, "train")
    waiting = sorted(sizes)
    waiting.remove(max(waiting, key=sizes.__getitem__))
    random.Random(seed).shuffle(waiting)
    for left, (name, share) in zip((1, 0), SHARES.items(), strict=True):
        taken = 0
        while len(waiting) > left and taken < share * sizes.total():
            unit = waiting.pop(0)
            parts[unit] = name
            taken += sizes[unit]
    return parts
