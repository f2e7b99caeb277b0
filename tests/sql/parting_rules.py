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
    rf"{_TEXT_COLUMN}\s*(?:==|=|<>|<|>|in|like|ilike|is|between)\s*[(]?\s*-?\s*\d"
    rf"|lower\(\d|\d\s*==?\s*\S*{_TEXT_COLUMN}"
)
_CALL = r"\b(?:max|min|count|sum|avg)\s*\("
_BARE_COLUMN = rf"{_CALL}.*(?:,|\border by\b|\bgroup by\b)|\bgroup by\b|,\s*{_CALL}"
_KEYWORD = r"(?:all|and|as|desc|distinct|from|limit|not|null|or|select|where)"
_THEN = r"\s*(?:and\b|or\b|group\b|order\b|limit\b|\Z)"
_EXPRESSION = (
    rf"\bselect (?:distinct )?\d|[<>=]\s*{_COLUMN}|(?:and|or|where|not)\s+{_COLUMN}{_THEN}"
    rf"|where\s+(?:'[^']*'|\"[^\"]*\"){_THEN}|[<>=]\s*\S+\s*[<>=]"
    r"|(?:like|[<>=])\s+(?:not|null)\b|like\s+\S+\s+-|\border by not\b"
    r"|\bselect (?:distinct |all )?(?:not\b|null\b|')"
    rf"|,\s*'[^']*'\s*(?:\S+\s+)?from\b|\S\s+-\s*\d|\d between\b|\b(?:and|or) \d|\bor '"
    rf"|,\s*\d+\s|where\s+\d+(?:\s*=|{_THEN})|limit not|like\s+{_COLUMN}"
    r"|\bselect \"stats_2011\"[^.]|\bnull\s*[<>=]"
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


def _quotes_within(text: str) -> bool:
    found = re.search(r"'[x\x80-\uffff]*' ?\w+'?|[=<>]\s*\"[^\"]*(?:\Z|\" \w+\")", text)
    return found is not None or text.count("'") % 2 == 1


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
    Rule("a type of several words", "SELECT CAST(Points AS DESC DOUBLE) FROM stats_2011",
         (SQLITE,), RAN, ("unknown_column", "syntax", "unsupported"),
         _has(r"\bcast\s*\((?:(?! as ).)* as \S+ \w+\)")),
    Rule("IS with a value", "SELECT Team FROM stats_2011 WHERE Player IS 'cy'",
         (SQLITE,), RAN, ("unsupported", "syntax", "unknown_column"), _has(r"\bis\b")),
    Rule("signs before a text or a sign", "SELECT Team FROM stats_2011 WHERE Points > - '2'",
         BOTH, RAN, ("unsupported",), _has(r"-\s*['\"-]")),
    Rule("expressions", "SELECT Team FROM stats_2011 WHERE Points < \"No.\"",
         BOTH, RAN, ("unsupported", "ambiguous"), _has(_EXPRESSION)),
    Rule("a SELECT without FROM", "SELECT COUNT(*) stats_2011",
         BOTH, RAN, ("unsupported",), _without_from),
    Rule("text without quotes", "SELECT Team FROM stats_2011 WHERE Player = Cy",
         BOTH, ("error", *RAN), RAN,
         _has(r"(?:[=<>]|like)\s*(?:all |not )?(?!lower|cast|trim|round)[^\W\d]")),
    Rule("alias in single quotes", "SELECT Team 'x' FROM stats_2011",
         (DUCKDB,), ("error",), RAN, _has(r"' from\b|\bfrom \S+ '")),
    Rule("keyword as an alias", "SELECT Team DESC FROM stats_2011",
         (SQLITE,), RAN, ("syntax", "unsupported", "unknown_column"),
         _has(r"\b(?:desc|all|null|limit)\s+(?:from|where)\b")),
    Rule("a DuckDB keyword as an alias", "SELECT Points Year FROM stats_2011",
         (DUCKDB,), ("error",), RAN, _has(r"\byear from\b")),
    Rule("quotes within a text", "SELECT Team FROM stats_2011 WHERE Player = 'x' o'neil'",
         BOTH, ("error",), RAN, _quotes_within),
    Rule("a comma at the end of a list", "SELECT Team, FROM stats_2011",
         (DUCKDB,), RAN, ("syntax", "unknown_column", "no_query"),
         _has(r",\s*(?:from|where|group|order|limit)\b")),
    Rule("unknown name in double quotes", "SELECT Team FROM stats_2011 WHERE \"Rank\" = 'x'",
         (SQLITE,), RAN, ("unknown_column", "no_query", "unsupported"), _has('"')),
    Rule("an alias in the same list", "SELECT Team AS n, n FROM stats_2011",
         (DUCKDB,), RAN, ("unknown_column", "unsupported"), _has(r"\bas (\S+),.*\1.*\bfrom\b")),
    Rule("NULL in an order",
         "SELECT Player FROM stats_2011 WHERE Player IN ('Cy', 'Bob O''Neil') "
         'ORDER BY "Goals (2011)" LIMIT 1',
         (SQLITE,), RAN, RAN, _has(r"\border by\b")),
    Rule("FROM first", "FROM stats_2011 WHERE \"No.\" = '12'",
         (DUCKDB,), RAN, ("not_select",), _has(r"\A\s*from\b")),
    Rule("AS as an alias", "SELECT Team AS AS FROM stats_2011",
         BOTH, ("error",), RAN, _has(rf"\bas (?:{_KEYWORD}|\d+)\b")),
    Rule("keyword after AS", "SELECT COUNT(1) AS AS FROM stats_2011",
         (DUCKDB,), RAN, ("unknown_column", "syntax"), _has(rf"\bas {_KEYWORD}\b")),
    Rule("other signs in a name", "SELECT Team FROM stats_2011 s WHERE s.`Goals = (2011)` > 3",
         BOTH, ("error", *RAN), RAN, _has(r"goals (?!\(2011\))\W*2011")),
    Rule("a word before SELECT", "1 SELECT Team FROM stats_2011",
         BOTH, ("error", *RAN), (*RAN, "unsupported"),
         _has(r"\A\s*(?!select)\S+.*\bselect\b|\bselect\b(?:(?!\bfrom\b).)*\bselect\b")),
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
