"""Every typed query, in every spelling, reads back as itself."""

from __future__ import annotations

import json

import duckdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.data.answer_marks import pieces
from harness.data.records import Table
from harness.sql.column_names import Names
from harness.sql.grade.strict import _fits, canonical_fits
from harness.sql.query import (
    COMPARISONS,
    Between,
    Comparison,
    In,
    IsNull,
    Item,
    Like,
    Or,
    Order,
    Query,
    Where,
    conjunction,
    joined,
)
from harness.sql.read.dialect import read_dialect
from harness.sql.read.reader import Reader, Reading, _read, read_quickly
from harness.sql.run.sandbox_process import _parse
from tests.sql.query_spellings import SPELLINGS, dialect, standard

HEADERS = (
    "Player", "No.", "School/Club Team", "Max. power at rpm", "Winner's Country", "From",
    "Moving from", "Score", "Score in final", "Points (2010)", "50%", "Capital ( endonym )",
    "Order by date", "Årsmodell", "A \"quoted\" name", "Pick #", "Where and when", "# of seats",
    "x = y", "Group", "Date, time", "Count of votes", "Limit", "In", "U.S. viewers (million)",
    "B[1]", "Tick`s", "and",
)  # fmt: skip
TABLE = Table(
    "1-10015132-11",
    HEADERS,
    tuple("real" if index % 5 == 4 else "text" for index in range(len(HEADERS))),
    (),
)
COLUMNS = st.integers(0, len(HEADERS) - 1)
AGGREGATES = st.sampled_from(("", "MAX", "MIN", "COUNT", "SUM", "AVG"))
WORD = st.text("abcxyzÅéß0123456789", min_size=1, max_size=6)
# What the unescaped dialect can hold: apostrophes stand inside or at the end of words.
PLAIN_VALUE = st.lists(
    st.one_of(
        WORD,
        st.sampled_from(("o'brien", "raiders'", '"l.a."', "rock & roll", "1,234", "4–7", "it's")),
    ),
    min_size=1,
    max_size=3,
).map(" ".join)  # fmt: skip
ANY_VALUE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=12).filter(
    # Markdown's "\_" is "_" everywhere, and "<think>" a mark: no cell of WikiSQL holds them.
    lambda text: "`" not in text and "\\_" not in text and len(list(pieces(text))) == 1
)


def comparisons(values: st.SearchStrategy[str]) -> st.SearchStrategy[Where]:
    negated = st.booleans()
    return st.one_of(
        st.builds(Comparison, COLUMNS, st.sampled_from(COMPARISONS), values),
        st.builds(Like, COLUMNS, values, negated),
        st.builds(In, COLUMNS, st.lists(values, min_size=1, max_size=3).map(tuple), negated),
        st.builds(Between, COLUMNS, values, values, negated),
        st.builds(IsNull, COLUMNS, negated),
    )


def conditions(values: st.SearchStrategy[str]) -> st.SearchStrategy[Where | None]:
    leaf = comparisons(values)
    flat = st.lists(leaf, min_size=2, max_size=3)
    either = flat.map(lambda parts: joined(Or, parts))
    both = st.lists(st.one_of(leaf, either), min_size=1, max_size=3).map(conjunction)
    return st.one_of(st.none(), leaf, either, both)


def queries(values: st.SearchStrategy[str]) -> st.SearchStrategy[Query]:
    item = st.one_of(
        st.builds(Item, COLUMNS, AGGREGATES),
        st.builds(Item, COLUMNS, st.just("COUNT"), st.just(True)),
        st.just(Item(None, "COUNT")),
    )
    key = st.builds(Order, st.builds(Item, COLUMNS), st.booleans())
    return st.builds(
        Query,
        st.lists(item, min_size=1, max_size=2).map(tuple),
        conditions(values),
        st.booleans(),
        st.lists(COLUMNS, max_size=1).map(tuple),
        st.lists(key, max_size=2).map(tuple),
        st.one_of(st.none(), st.integers(0, 99)),
    )


def wikisql(values: st.SearchStrategy[str]) -> st.SearchStrategy[Query]:
    leaf = st.builds(Comparison, COLUMNS, st.sampled_from(("=", ">", "<")), values)
    return st.builds(
        Query,
        st.builds(Item, COLUMNS, AGGREGATES).map(lambda item: (item,)),
        st.lists(leaf, max_size=4).map(lambda parts: conjunction(list(parts))),
    )


def either_empty(left: int, right: int) -> Query:
    """``left IN ('') OR right IN ('')``: what stands between the outer quotes is no literal."""
    where = joined(Or, [In(left, ("",)), In(right, ("",))])
    return Query((Item(None, "COUNT"),), where)


def check(spelling: str, query: Query) -> None:
    text = SPELLINGS[spelling](query, TABLE)
    reading = Reader().read(text, TABLE)
    assert reading == query, (text, reading)


SETTINGS = settings(max_examples=150)


@SETTINGS
@given(queries(ANY_VALUE))
@example(either_empty(HEADERS.index("Player"), HEADERS.index('A "quoted" name')))
@example(either_empty(HEADERS.index("Player"), HEADERS.index("Score")))
def test_standard_sql_reads_back(query: Query) -> None:
    check("standard", query)


@SETTINGS
@given(queries(ANY_VALUE.filter(lambda text: "\\" not in text)))
def test_mysql_reads_back(query: Query) -> None:
    check("mysql", query)


@SETTINGS
@given(queries(ANY_VALUE))
def test_tsql_reads_back(query: Query) -> None:
    check("tsql", query)


@SETTINGS
@given(queries(ANY_VALUE))
def test_numbered_columns_read_back(query: Query) -> None:
    check("columns", query)


@SETTINGS
@given(wikisql(PLAIN_VALUE))
def test_the_dialect_reads_back(query: Query) -> None:
    check("dialect", query)


@SETTINGS
@given(queries(PLAIN_VALUE))
def test_the_dialect_reads_back_with_everything_that_models_add(query: Query) -> None:
    check("dialect", query)


@SETTINGS
@given(wikisql(PLAIN_VALUE))
def test_the_quick_reader_agrees_with_the_slow_one(query: Query) -> None:
    text = dialect(query, TABLE)
    names = Names(TABLE)
    quick = read_quickly(text, names)
    assert quick is None or quick == read_dialect(text, names)


DUCKDB = duckdb.connect()
# No name with a quote, which the quick reader leaves to the others.
_KEPT = [index for index, name in enumerate(HEADERS) if '"' not in name]
UNQUOTED = Table(
    "2-1", tuple(HEADERS[at] for at in _KEPT), tuple(TABLE.types[at] for at in _KEPT), ()
)


@SETTINGS
@given(
    st.builds(
        Query,
        st.builds(Item, st.integers(0, len(UNQUOTED.header) - 1), AGGREGATES).map(lambda i: (i,)),
        st.lists(
            st.builds(
                Comparison,
                st.integers(0, len(UNQUOTED.header) - 1),
                st.sampled_from(("=", ">", "<")),
                st.one_of(ANY_VALUE, PLAIN_VALUE, st.sampled_from(("12", "3.50", "007"))),
            ),
            max_size=4,
        ).map(lambda parts: conjunction(list(parts))),
    ),
    st.sampled_from(("", ";", " ;\n", ".")),
)
def test_the_quick_reader_of_sql_agrees_with_the_slow_one(query: Query, end: str) -> None:
    text = standard(query, UNQUOTED) + end
    names = Names(UNQUOTED)
    quick = read_quickly(text, names)
    assert quick is None or Reading(quick, "dialect") == _read(text, names)
    known = canonical_fits(text, UNQUOTED, names.sql)
    if known is not None:
        tree = _parse(DUCKDB, text)
        assert known == (tree is not None and _fits(json.loads(tree), UNQUOTED, names.sql))


def test_canonical_sql_is_read_quickly() -> None:
    """Bare numbers and quoted ones, a semicolon, an equals sign and double quotes in values."""
    names = Names(UNQUOTED)
    for where in ('"Winner\'s Country" = \'12\' AND "No." < 12', '"Score" > \'1=1 "a"\';'):
        text = f'SELECT MAX("Pick #") FROM "2-1" WHERE {where}'
        assert read_quickly(text, names) == _read(text, names).result
