"""Nothing holds the reader: every text ends within its limit and touches no other answer."""

from __future__ import annotations

import json
import os
import random
import signal
import string
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.cli.scoring import run_score
from harness.data.records import Table
from harness.sql.column_names import Names
from harness.sql.failures import Failure
from harness.sql.grade import answer
from harness.sql.limited_process import EnvironmentFault, LimitedProcess
from harness.sql.query import Query, from_logical_form
from harness.sql.read import bounded
from harness.sql.read.bounded import READING_LIMIT_S, read_all
from harness.sql.read.reader import Reader
from harness.sql.read.sqlglot_limits import too_much
from harness.sql.read.sqlglot_reader import read_sql
from tests.sql.conftest import OVER_3, SQUAD

T1 = Table("t1", ("Name", "Year", "Pts"), ("text", "text", "real"), (("Ann", "2001", 3.0),))
ASKED = "SELECT Name FROM t1 WHERE Name = "
RIGHT = 'SELECT "Name" FROM t1 AS x WHERE lower(x."Name") = \'ann\''

LOOPS = """
import re
from harness.sql.read.reader import Reader
from harness.sql.read.reading_process import main
real = Reader.reading
def reading(self, text, table):
    if "LOOP" in text:
        re.match("(a+)+$", "a" * 100 + "b")
    return real(self, text, table)
Reader.reading = reading
main()
"""
"""A reader that one text sends into a regular expression that does not end in our lifetime, where
Python looks at no signal and runs no other thread."""


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[LimitedProcess]:
    """The reading process of this test alone, with a reader that can be made to loop."""
    made = LimitedProcess(
        "the process that reads answers",
        [sys.executable, "-P", "-c", LOOPS],
        {"PYTHONPATH": str(bounded._ROOT)},
        bounded._ROOT,
    )
    monkeypatch.setattr(bounded, "_process", lambda owner: made)
    yield made
    made.close()


def read(*texts: str) -> list[Query | Failure]:
    return [one.result for one in read_all([(text, T1) for text in texts], Reader())]


@pytest.mark.slow
def test_a_text_that_loops_in_a_regular_expression_costs_its_own_answer_alone(
    process: LimitedProcess,
) -> None:
    right = Reader().read(RIGHT, T1)
    assert isinstance(right, Query)
    found = read(RIGHT, "LOOP", RIGHT, RIGHT)
    assert [one == right for one in found] == [True, False, True, True]
    assert found[1] == Failure("too_long", "reading it took more than 0.9 s of processor time")
    assert process.restarts == 1


def test_a_reading_process_that_is_killed_costs_no_answer(process: LimitedProcess) -> None:
    right = Reader().read(RIGHT, T1)
    assert read(RIGHT) == [right]
    os.kill(process.process.pid, signal.SIGKILL)
    assert read(RIGHT, RIGHT) == [right, right]


@pytest.mark.slow
def test_reading_processes_that_are_killed_again_and_again_are_a_fault_of_the_machine(
    process: LimitedProcess,
) -> None:
    def watch() -> None:
        killed: set[int] = set()
        while len(killed) < 2:
            now = process.process
            if now is not None and process._ready and now.pid not in killed:
                killed.add(now.pid)
                time.sleep(0.2)
                os.kill(now.pid, signal.SIGKILL)
            time.sleep(0.005)

    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(EnvironmentFault, match=r"reads answers gave no answer.*SIGKILL"):
        read("LOOP")


def test_what_was_read_before_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "reading", None)
    query = from_logical_form(OVER_3)
    (found,) = answer.execute_all([(SQUAD, query)])
    assert found.rows == (("Bob",), ("Cy",), ("Dee",))


HOSTILE = {
    "nested types": ASKED + "DATE(" * 30 + "'a'" + ")" * 30,
    "open struct": ASKED + "STRUCT(" * 30,
    "connectives": ASKED + "'x" + " ' and " * 1_100,
    "names after quotes": ASKED + "'x" + " ' or Name " * 700,
}


def test_hostile_texts_end_within_seconds_and_others_are_graded(tmp_path: Path) -> None:
    rows = [["Ann", "2001", 3.0], ["Bob", "2002", 5.0]]
    table = {"id": "t1", "header": T1.header, "types": T1.types, "rows": rows}
    gold = {"sel": 2, "agg": 0, "conds": [[0, 0, "Ann"]]}
    example = {"phase": 1, "table_id": "t1", "question": "q", "sql": gold}
    good = "SELECT Pts FROM t1 WHERE Name = 'Ann'"
    texts = [text for one in HOSTILE.values() for text in (one, good)]
    lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(texts)]
    (tmp_path / "x.tables.jsonl").write_text(json.dumps(table) + "\n")
    (tmp_path / "x.jsonl").write_text((json.dumps(example) + "\n") * len(texts))
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    run_score(tmp_path, "x", tmp_path / "p.jsonl", out=tmp_path / "o.jsonl")
    found = [json.loads(line) for line in (tmp_path / "o.jsonl").open()]
    assert all(row["ex"] for row in found[1::2])
    assert not any(row["ex"] for row in found[::2])
    assert [row["failure"] for row in found[:4:2]] == ["too_long", "too_long"]


FAMILIES = (
    *("DATE(", "STRUCT(", "ROW(", "INT(", "DATE(a, ", "CONVERT(", "(DATE(", "DATE((", "f(DATE("),
    *("[DATE(", "{'a': DATE(", "NOT DATE(", "- DATE(", "CASE WHEN DATE(", "DATE (", '"DATE"('),
    *("(", "[", "{'a': ", "NOT ", "- ", "CASE WHEN ", "(SELECT ", "ARRAY<", "a::STRUCT(b "),
)


@pytest.mark.parametrize("unit", FAMILIES)
def test_sqlglot_is_not_asked_what_takes_it_ever_longer(unit: str) -> None:
    """Without the limits thirty levels take days; with them no depth takes over a second."""
    closing = {"(": ")", "[": "]", "{": "}", "<": ">"}
    close = "".join(closing.get(character, "") for character in reversed(unit))
    for depth in (6, 8, 9, 12, 20, 30, 300):
        for text in (unit * depth, unit * depth + "'a'" + close * depth):
            before = time.process_time()
            read_sql(ASKED + text, Names(T1))
            assert time.process_time() - before < 2 * READING_LIMIT_S, (depth, text[:60])


def test_what_people_write_is_within_the_limits() -> None:
    nested = "LOWER(TRIM(REPLACE(CAST(COALESCE(Name, '') AS TEXT), '(((((((((((', '')))"
    for text in (
        f"SELECT Name FROM t1 WHERE {nested} = 'a'",
        "SELECT Name FROM t1 WHERE Name IN (" + ", ".join(f"'{i}'" for i in range(700)) + ")",
        "SELECT Name FROM t1 WHERE (((Name = 'a' OR (Pts > 3 AND (Year = '1' OR (Pts < 2))))))",
        "SELECT " + ", ".join(f"MAX(col{i})" for i in range(250)) + " FROM t1",
    ):
        assert too_much(text) is None, text[:60]


Record = Callable[[str, object], None]


def hostile_text(rng: random.Random, size: int) -> str:
    """Pieces of SQL, quotes, brackets, tags and noise, repeated and mixed."""
    pieces = [
        *("SELECT ", " FROM ", "t1", " WHERE ", "Name", " = ", "'", '"', "`", "``` ", "```sql\n"),
        *(
            " AND ",
            " or ",
            " ' and ",
            " NOT ",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ";",
            "\n",
            " -- ",
        ),
        *(
            "/*",
            "*/",
            "<think>",
            "</think>",
            "<answer>",
            "\\",
            "\\n",
            "&gt;",
            "1",
            "- ",
            "%",
            "\x00",
        ),
        *(
            "DATE(",
            "STRUCT(",
            " IN (",
            " BETWEEN ",
            " LIKE ",
            " limit ",
            " order by ",
            "**",
            "\u2028",
        ),
        *(
            '{"sql": "',
            "\ud83d\ude00",
            "İ",
            "ß",
            "select ",
            " from ",
            " is null ",
            "[THINK]",
            "#",
            "Q: ",
        ),
        "".join(rng.choices(string.printable, k=6)),
    ]
    chosen = rng.choices(pieces, k=rng.choice((1, 2, 2, 3, 5, 40)))
    start = rng.choice(("", "SELECT Name FROM t1 WHERE Name = '", "SELECT Name", "```sql\nSELECT "))
    if rng.random() < 0.7:
        return (start + "".join(chosen) * (size // max(1, len("".join(chosen))) + 1))[:size]
    return (start + "".join(rng.choices(pieces, k=size // 3)))[:size]


def ends(rng: random.Random, sizes: tuple[int, ...], count: int) -> None:
    """Each text ends: the process that reads takes little more than its limit, this one nearly
    nothing."""
    for number in range(count):
        text = hostile_text(rng, rng.choice(sizes))
        process = bounded._process(os.getpid())
        read("SELECT 1")
        reading = psutil.Process(process.process.pid).cpu_times().user
        own = time.process_time()
        (found,) = read(text)
        assert time.process_time() - own < 0.5, (number, text[:80])
        if isinstance(found, Failure) and found.detail.startswith("reading it took"):
            continue
        spent = psutil.Process(process.process.pid).cpu_times().user - reading
        assert spent < READING_LIMIT_S + 0.5, (number, text[:80])


def test_no_random_or_hostile_text_outlasts_its_limit(record_property: Record) -> None:
    record_property("tried", 60)
    ends(random.Random(15), (50, 400, 1_000, 3_000, 8_000), 60)


@pytest.mark.slow
def test_no_text_of_up_to_a_megabyte_outlasts_its_limit(record_property: Record) -> None:
    record_property("tried", 400)
    ends(random.Random(16), (1_000, 8_000, 30_000, 200_000, 1_000_000), 400)
