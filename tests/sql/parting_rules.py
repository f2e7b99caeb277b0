"""The rules by which two databases and the grading part over one statement.

Outcome of a statement -> the names of the rules that explain it. Each rule is a class of
docs/protocols.md with an example of its own, which is tested by itself; there is no class "other",
and no rule lets a text that both databases run and agree on have another verdict here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.sql.differential import Outcome
from tests.sql.model_sql import TABLE

DUCKDB, SQLITE = "duckdb", "sqlite"
RAN = ("right", "wrong")

_NAMES = {name.lower() for name in (*TABLE.header, TABLE.id, "n")}
_HEADER = r"(?:player|no\.|team|points|goals \(2011\)|year)"
_COLUMN = rf"[\"`\[]?(?:s\.|\"?stats_2011\"?\.)?[\"`\[]?{_HEADER}[\"`\]]?"
_TEXT_COLUMN = r"(?:player|no\.|team|year)[\"`\]]?\)?"
_REAL_COLUMN = r"(?:points|goals \(2011\))[\"`\]]?\)?"
_NUMBER_BESIDE_TEXT = (
    rf"{_TEXT_COLUMN}\s*(?:==|=|<>|in|like|ilike|is|between)\s*[(]?\s*-?\s*\d"
    rf"|lower\(\d|\d\s*=\s*\S*{_TEXT_COLUMN}"
)
_BARE_COLUMN = r"\b(?:max|min|count|sum|avg)\s*\(.*(?:,|\border by\b|\bgroup by\b)|\bgroup by\b"
_THEN = r"\s*(?:and\b|or\b|group\b|order\b|limit\b|\Z)"
_EXPRESSION = (
    rf"\bselect (?:distinct )?\d|[<>=]\s*{_COLUMN}|(?:and|or|where|not)\s+{_COLUMN}{_THEN}"
    rf"|where\s+(?:'[^']*'|\"[^\"]*\"){_THEN}|[<>=]\s*\S+\s*[<>=]"
    r"|like\s+(?:not\b|\S+\s+-)|\bselect (?:distinct )?(?:not\b|')"
)


@dataclass(frozen=True)
class Rule:
    """A way to part: ``engines`` part from us where ``applies`` holds for the statement in lower
    case without its texts; ``theirs`` and ``here`` are the outcomes that it explains."""

    name: str
    example: str
    engines: tuple[str, ...]
    theirs: tuple[str, ...]
    here: tuple[str, ...]
    applies: Callable[[str], bool]


def _has(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.search(text) is not None


def _blank(literal: re.Match[str]) -> str:
    return "'" + re.sub(r"[\x00-\x7f]", "x", literal[1]) + "'"


def _without_from(text: str) -> bool:
    return re.search(r"\bfrom\b", re.sub(r'"[^"]*"', "", text)) is None


def _unknown_in_double_quotes(text: str) -> bool:
    return any(name not in _NAMES for name in re.findall(r'"([^"]*)"', text))


BOTH = (DUCKDB, SQLITE)
RULES = (
    Rule("names in brackets", "SELECT [Team] FROM stats_2011 WHERE [No.] = '8'",
         (DUCKDB,), ("error", *RAN), RAN, _has(r"\[")),
    Rule("text in double quotes", "SELECT Team FROM stats_2011 WHERE Player = \"Cy\"",
         (DUCKDB,), ("error",), RAN, _unknown_in_double_quotes),
    Rule("number beside a text column", "SELECT Team FROM stats_2011 WHERE Year = 2001",
         (DUCKDB,), ("error", *RAN), RAN, _has(_NUMBER_BESIDE_TEXT)),
    Rule("ILIKE", "SELECT Team FROM stats_2011 WHERE Player ILIKE 'cy'",
         (SQLITE,), ("error",), RAN, _has(r"\bilike\b")),
    Rule("letters beyond ASCII", "SELECT Player FROM stats_2011 WHERE Team = 'örebro'",
         (SQLITE,), RAN, RAN, _has(r"[^\x00-\x7f]")),
    Rule("aggregate beside a bare column", "SELECT MAX(Points), Team FROM stats_2011",
         (SQLITE,), RAN, ("execution_error",), _has(_BARE_COLUMN)),
    Rule("LIKE on a number", "SELECT Team FROM stats_2011 WHERE Points LIKE 9",
         (SQLITE,), RAN, ("type_mismatch",), _has(rf"{_REAL_COLUMN}\s*(?:i?like)\b")),
    Rule("functions and casts", "SELECT Team FROM stats_2011 WHERE TRIM(Player) = 'cy'",
         BOTH, RAN, ("unsupported",), _has(r"\b(?:trim|round|cast|lower)\s*\(")),
    Rule("IS with a value", "SELECT Team FROM stats_2011 WHERE Player IS 'cy'",
         (SQLITE,), RAN, ("unsupported", "syntax"), _has(r"\bis\b")),
    Rule("signs before a text or a sign", "SELECT Team FROM stats_2011 WHERE Points > - '2'",
         BOTH, RAN, ("unsupported",), _has(r"-\s*['\"-]")),
    Rule("expressions", "SELECT Team FROM stats_2011 WHERE Points < \"No.\"",
         BOTH, RAN, ("unsupported", "ambiguous"), _has(_EXPRESSION)),
    Rule("a SELECT without FROM", "SELECT COUNT(*) stats_2011",
         BOTH, RAN, ("unsupported",), _without_from),
    Rule("text without quotes", "SELECT Team FROM stats_2011 WHERE Player = Cy",
         BOTH, ("error", *RAN), RAN, _has(r"[=<>]\s*(?:all |not )?(?!lower|cast|trim|round)[a-z]")),
    Rule("alias in single quotes", "SELECT Team 'x' FROM stats_2011",
         (DUCKDB,), ("error",), RAN, _has(r"' from\b")),
    Rule("keyword as an alias", "SELECT Team DESC FROM stats_2011",
         (SQLITE,), RAN, ("syntax", "unsupported", "unknown_column"),
         _has(r"\b(?:desc|all|null|limit)\s+from\b")),
    Rule("quotes within a text", "SELECT Team FROM stats_2011 WHERE Player = 'x' o'neil'",
         BOTH, ("error",), RAN, _has(r"'x*' ?\w+'?|'\w+\Z")),
    Rule("two numbers side by side", "SELECT Team FROM stats_2011 WHERE Points = - 0 0",
         BOTH, ("error",), RAN, _has(r"(?:= -|between) \d+ \d")),
    Rule("a comma at the end of a list", "SELECT Team, FROM stats_2011",
         (DUCKDB,), RAN, ("syntax", "unknown_column"),
         _has(r",\s*(?:from|where|group|order|limit)\b")),
    Rule("unknown name in double quotes", "SELECT Team FROM stats_2011 WHERE \"Rank\" = 'x'",
         (SQLITE,), RAN, ("unknown_column",), _has('"')),
    Rule("AS as an alias", "SELECT Team AS AS FROM stats_2011",
         (SQLITE,), ("error",), RAN, _has(r"\bas as\b")),
    Rule("a word before SELECT", "1 SELECT Team FROM stats_2011",
         BOTH, ("error", *RAN), RAN,
         _has(r"\A\s*(?!select)\S+.*\bselect\b|\bselect\s+(?:\S+\s+)?select\b")),
)  # fmt: skip


def classes(outcome: Outcome) -> list[str] | None:
    """The rules by which each database parts from us; None where one has no rule."""
    # Of a text only the letters beyond ASCII count.
    text = re.sub(r"'((?:[^']|'')*)'", _blank, outcome.sample.sql).lower()
    found = []
    for engine, theirs in ((DUCKDB, outcome.duckdb), (SQLITE, outcome.sqlite)):
        failed = outcome.here not in RAN
        if theirs == outcome.here or (theirs == "error" and failed):
            continue
        names = [
            rule.name
            for rule in RULES
            if engine in rule.engines
            and theirs in rule.theirs
            and outcome.here in rule.here
            and rule.applies(text)
        ]
        if not names:
            return None
        found.append(names[0])
    return sorted(set(found))
