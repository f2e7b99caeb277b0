"""Where a statement ends: what belongs to it is never left out in silence.

A text that asks for less than its first line does must be read whole, or be a failure by name;
graded by its first line it would be right against a gold that it does not mean.
"""

from __future__ import annotations

import pytest

from harness.data.records import Table
from harness.sql.failures import Failure
from harness.sql.query import Query
from harness.sql.read.reader import Reader

TABLE = Table(
    "3-7001-1",
    ("Player", "Team", "Points", "Plan"),
    ("text", "text", "real", "text"),
    (("Ann", "Duke", 12, "a"), ("Bo", "Yale", 30, "b")),
)
S = 'SELECT Player FROM "3-7001-1"'
BIG = f"{S} WHERE Points > 10"
DUKE = f"{BIG} AND Team = 'Duke'"


def read(text: str) -> Query | Failure:
    return Reader().read(text, TABLE)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (f"{S}\n/* only big */\nWHERE Points > 10", BIG),
        (f"{S} /* only\nbig */\nWHERE Points > 10", BIG),
        (f"{S}\n/* x */ WHERE Points > 10", BIG),
        ("SELECT Player FROM 3-7001-1\n/* x */ WHERE Points > 10", BIG),
        (f"```sql\n{S}\n/* Only those */\nWHERE Points > 10;\n```", BIG),
        (f"{BIG}\n/* c */ AND Team = 'Duke'", DUKE),
        *(
            (f"{S}\n{note}\nWHERE Points > 10", BIG)
            for note in ("# big", "// big", "{# x #}", "<!-- x -->")
        ),
        *((f"{S}\n{alias}\nWHERE x.Points > 10", BIG) for alias in ("x", "AS x")),
        *((f"{S}\n{mark}WHERE Points > 10", BIG) for mark in ("    -> ", "   ...> ", "db-# ")),
        *((f"{S}\n{mark}WHERE Points > 10", BIG) for mark in ("| ", "+ ", "- ", "2 | ", "2. ")),
        *(
            (f"{S}\n{clause}", f"{S} {clause}")
            for clause in (
                *("Limit 1", "Where Team Like 'D%'", "Where Team In ('Duke')"),
                *("Where Points Between 3 And 5", 'Where "Plan" Is Null'),
                "Order By Points Limit 1",
            )
        ),
        (f"{BIG}\n\nAnd Team = 'Duke'", DUKE),
        (f"{S}\nORDER BY Points\nDESC\nLIMIT 1", f"{S} ORDER BY Points DESC LIMIT 1"),
    ],
)
def test_a_clause_on_a_line_of_its_own_belongs_to_the_statement(text: str, means: str) -> None:
    wanted = read(means)
    assert isinstance(wanted, Query)
    assert read(text) == wanted


@pytest.mark.parametrize("end", ["\n' AND Points > 100", "\nX'", "\n\n' OR Points > 0"])
def test_a_literal_goes_on_to_its_quote(end: str) -> None:
    assert read(f"{S} WHERE Team = 'Duke{end}") != read(f"{S} WHERE Team = 'Duke'")


UNREAD = (
    *("Union\nSELECT Team FROM x", "\nunion\n\nselect Team from x", "MINUS\nSELECT 1"),
    *("Offset 2", "And Team Like 'D%'", "Or Team = 'D'"),
    "ORDER BY Points DESC\nNULLS LAST\nLIMIT 1",
    *("QUALIFY ROW_NUMBER() OVER (ORDER BY Points) = 1", "USING SAMPLE 1 ROWS", "TABLESAMPLE 10%"),
    *("NATURAL JOIN x", "ANTI JOIN x ON a = b", "OUTER APPLY f(x)"),
    "WITH (NOLOCK)\nWHERE Points > 1",
    *("WINDOW w AS (ORDER BY Points)", "FOR SYSTEM_TIME AS OF x", "SAMPLE 10", "INTO x"),
    "PREWHERE Points > 10",
)  # fmt: skip
ARITHMETIC = ("+ 5", "- 3", "/ 2", "% 3", "|| 5", "// 2")


@pytest.mark.parametrize(
    "text",
    [
        *(f"{S}\n{clause}" for clause in UNREAD),
        *(f"{BIG}\n{rest}" for rest in ARITHMETIC),
        *(f"{BIG} {rest}" for rest in ("// 3", "// 2 AND Team = 'Duke'", "!")),
        f"{BIG} . INTERSECT SELECT x FROM y",
        *(f"{S}{rest}" for rest in ("\\nOFFSET 2", "@x", " <LIMIT> 1")),
        f"{S}" + "\n" * 200_000 + "WHERE Points > 10",
        # Parentheses around the SELECT alone.
        *(f"({S}) {rest}" for rest in ("LIMIT 1", "ORDER BY Player LIMIT 1", "OFFSET 2")),
        *(f"({S}) {rest}" for rest in ("WHERE Points > 1", "UNION SELECT Team FROM x")),
        *(f"({S}){rest}" for rest in ("\nLIMIT 1", " FETCH FIRST 1 ROW ONLY")),
        *(f"({S}) EXCEPT {BIG}", f"(({S}) LIMIT 2)", f"[{S}] LIMIT 1", f"({S}", f"(({S})"),
        *(f"EXISTS ({S})", f"NOT ({S})"),
        # No database takes these.
        *(f"{S} LIMIT 1 ORDER BY Points", f"{S} ORDER BY Points WHERE Points > 1"),
        *(f"{S} LIMIT 1 WHERE Points > 1", f"{S} GROUP BY Player WHERE Points > 10"),
        *(f"{S} ORDER BY Points FETCH{rest}" for rest in ("", " FIRST", " FIRST 1 ROW")),
        *(f"{S} GROUP BY /* x */", f"{S} ORDER BY Plan ASC DESC", f"{S} * WHERE Points > 10"),
        *('SELECT Player FROM . "3-7001-1"', 'SELECT Player ESCAPE FROM "3-7001-1"'),
        'SELECT "Player", , "Team" FROM "3-7001-1"',
        "SELECT Player AS p FROM \"3-7001-1\" ORDER BY 'p' LIMIT 1",
    ],
)  # fmt: skip
def test_what_changes_the_rows_and_cannot_be_read_is_a_failure(text: str) -> None:
    assert isinstance(read(text), Failure)


@pytest.mark.parametrize(
    "before",
    ["explain ", "create table x as ", "insert into x ", "describe ", "create view v as "],
)
def test_another_statement_is_none_in_lower_case_either(before: str) -> None:
    found = read(before + S)
    assert isinstance(found, Failure)
    assert found.kind == "not_select"


@pytest.mark.parametrize("rest", ["\u200b", "\0", "%", "+", "??", "🎉", ": x", "f", "'x", "!"])
def test_nothing_joins_a_number_of_sql(rest: str) -> None:
    assert isinstance(read(BIG + rest), Failure)


@pytest.mark.parametrize(
    "rest", ["Note: x", "to list them.", "OFFSET 3", "INTO x", "as x", "END IF"]
)
def test_no_remark_joins_a_number_of_the_dialect(rest: str) -> None:
    assert isinstance(read(f"SELECT Player FROM 3-7001-1 WHERE Points > 10 {rest}"), Failure)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        *((f"{wrapped}", S) for wrapped in (f"({S})", f"run({S})", f"({S});", f"\\boxed{{{S}}}")),
        *((f"{one} {S}", S) for one in ("Show players:", "With this table,")),
        (f"{S}\nThis query returns players.", S),
        (f"{S}\n\nThis uses the WHERE clause.", S),
        (f"{S}\n\nOrder by is not needed.", S),
        (f"{BIG}\n\nWhere the points are over 10.", BIG),
        (f"{BIG}\n- WHERE Points > 10: filters the rows", BIG),
        (f"{BIG}\n(1 row)", BIG),
        (f"{BIG}\nor\n{S}", BIG),
        (f"{BIG}\n\nOr, {S}", BIG),
        (f"{BIG}\n// only big ones", BIG),
        (f"{S} WHERE Player = 'O'Neil'\nThis finds 'O'Neil'.", f"{S} WHERE Player = 'O''Neil'"),
        (f"{S} WHERE Team = 'Duke\nQ: who is 'x'?", f"{S} WHERE Team = 'Duke'"),
        (f"{S} WHERE Team = 'Duke\nThe query's result", f"{S} WHERE Team = 'Duke'"),
    ],
)
def test_what_stands_around_a_statement_is_left_out(text: str, means: str) -> None:
    assert read(text) == read(means)
