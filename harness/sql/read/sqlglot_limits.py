"""What is too much for sqlglot, found before it is asked: statement -> failure or None.

sqlglot 30 tries a name before a parenthesis as a type and then as a function, so its time doubles
with each level of ``DATE(DATE(DATE(…`` or ``STRUCT(`` (closed or not); on a flat statement its time
grows with the tokens. The limits leave a statement some tenths of a second and are the same on
every machine. What they do not foresee ends at the limit of the reading process (bounded.py).
"""

from __future__ import annotations

import re

from harness.sql.failures import Failure

MAX_TOKENS = 1_500
MAX_DEPTH = 30
MAX_NAMED_DEPTH = 8
"""Levels of a name and a parenthesis inside each other."""
MAX_TRIES = 500
"""Repeated tries over a whole statement, two to the number of names that a parenthesis is in."""

_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\w+|[^\w\s]")
_NO_NAMES = frozenset(("and", "or", "not", "in", "where", "by", "on", "having", "select", "from"))


def too_much(statement: str) -> Failure | None:
    """``too_long`` for a statement that sqlglot must not see."""
    tokens = _TOKEN.findall(statement)
    if len(tokens) > MAX_TOKENS:
        return Failure("too_long", f"more than {MAX_TOKENS} words and signs")
    opened: list[bool] = []
    named = tries = 0
    before = ""
    for token in tokens:
        if token in "([{":
            opened.append(token == "(" and _is_name(before))
            named += opened[-1]
            tries += 2**named - 2 if opened[-1] else 0
            if len(opened) > MAX_DEPTH or named > MAX_NAMED_DEPTH or tries > MAX_TRIES:
                return Failure("too_long", "too many parentheses inside each other")
        elif token in ")]}" and opened:
            named -= opened.pop()
        before = token
    return None


def _is_name(token: str) -> bool:
    return (token[:1].isalnum() or token[:1] in ("_", '"', "`")) and token.lower() not in _NO_NAMES
