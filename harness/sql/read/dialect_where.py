"""The WHERE of the dialect: position after WHERE -> readings of an OR of ANDs, likeliest first.

Each reading comes with the position after it; the caller takes the first after which the statement
can end. Values are found by literals.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.sql.failures import Failure
from harness.sql.query import (
    And,
    Between,
    Comparison,
    In,
    IsNull,
    Like,
    Or,
    Where,
    joined,
    negation,
)
from harness.sql.read.literals import Place, value_ends
from harness.sql.read.scanner import Scanner, TooComplex

MAX_NESTING = 20


def conditions(s: Scanner, at: int, depth: int) -> Iterator[tuple[Where, int]]:
    """Readings of an OR of ANDs from ``at``, the shortest last."""
    for groups, end in _chain(s, at, depth):
        yield joined(Or, [joined(And, group) for group in groups]), end


def _chain(s: Scanner, at: int, depth: int) -> Iterator[tuple[list[list[Where]], int]]:
    s.step()
    for term, end in _term(s, at, depth):
        after = s.over_comments(end)
        both = s.keyword(after, "and")
        if both >= 0:
            for rest, stop in _chain(s, both, depth):
                yield [[term, *rest[0]], *rest[1:]], stop
        either = s.keyword(after, "or")
        if either >= 0:
            for rest, stop in _chain(s, either, depth):
                yield [[term], *rest], stop
        yield [[term]], end


def _term(s: Scanner, at: int, depth: int) -> Iterator[tuple[Where, int]]:
    s.step()
    if depth > MAX_NESTING:
        raise TooComplex
    for column, after in s.known_columns(at):
        yield from _predicate(s, column, s.skip(after), depth)
    if s.low.startswith("(", at):
        for where, end in conditions(s, s.skip(at + 1), depth + 1):
            close = s.skip(end)
            if s.low.startswith(")", close):
                yield where, close + 1
    inner = s.keyword(at, "not")
    if inner >= 0:
        for where, end in _term(s, inner, depth + 1):
            yield negation(where), end
    if not s.columns(at):
        s.fail(at, Failure("unknown_column", f"no column starts at {s.text[at : at + 30]!r}"))


def _predicate(s: Scanner, column: int, at: int, depth: int) -> Iterator[tuple[Where, int]]:
    place = Place(depth, real=s.names.table.types[column] == "real")
    found = s.operator(at)
    if found is not None:
        operator, value_at = found
        for value, end in value_ends(s, value_at, place):
            yield Comparison(column, operator, value), end
        return
    is_at = s.keyword(at, "is")
    if is_at >= 0:
        negated = s.keyword(is_at, "not")
        null = s.keyword(max(is_at, negated), "null")
        if null >= 0:
            yield IsNull(column, negated >= 0), null
        return
    negated = s.keyword(at, "not")
    at = max(at, negated)
    for word in ("like", "ilike"):
        like = s.keyword(at, word)
        if like >= 0:
            for pattern, end in value_ends(s, like, Place(depth)):
                yield Like(column, pattern, negated >= 0), end
    between = s.keyword(at, "between")
    if between >= 0:
        for low, end in value_ends(s, between, replace(place, between=True)):
            high_at = s.keyword(s.skip(end), "and")
            if high_at >= 0:
                for high, stop in value_ends(s, high_at, place):
                    yield Between(column, low, high, negated >= 0), stop
    inside = s.keyword(at, "in")
    if inside >= 0 and s.low.startswith("(", inside):
        for values, end in _list(s, s.skip(inside + 1), Place(depth + 1, listed=True)):
            yield In(column, values, negated >= 0), end
    s.fail(at, Failure("syntax", f"expected an operator at {s.text[at : at + 20]!r}"))


def _list(s: Scanner, at: int, place: Place) -> Iterator[tuple[tuple[str, ...], int]]:
    for value, end in value_ends(s, at, place):
        after = s.skip(end)
        if s.low.startswith(")", after):
            yield (value,), after + 1
        elif s.low.startswith(",", after):
            for rest, stop in _list(s, s.skip(after + 1), place):
                yield (value, *rest), stop
