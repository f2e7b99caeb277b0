"""Predictions: a JSONL file -> one checked prediction for every example; JSON -> logical form.

A line is ``{"id": line, "text": …}``, ``{"id": line, "query": {…}}`` (``--format wikisql``) or
``{"id": line, "error": …}``. All problems of a file are reported at once, and nothing is graded
before the file is whole. A ``query`` that is no query and a ``text`` that is no text, whatever JSON
they are, are no problems of the file but wrong answers, of kind ``malformed_query``.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.data.records import AGGREGATIONS, OPERATORS, Condition, LogicalForm, Table
from harness.data.sources.jsonlines import BadLine, kind_of
from harness.errors import UserError, unknown
from harness.sql.failures import Failure

FORMATS = ("text", "wikisql")
_SHOWN = 10
_MAX_CONDITIONS = 100
_MOST_DIGITS = 4300
"""Digits of the longest whole number that Python converts, by default."""

_NUMBERED = "jq -c '{id: (input_line_number - 1)} + .' FILE"
"""Gives an id to each line of a file without ids, as WikiSQL's own prediction files are."""

REPLACEMENT = "\ufffd"
_SURROGATES = re.compile("[\ud800-\udfff]")
_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*(\d{1,18})\s*,')


@dataclass(frozen=True, slots=True)
class Prediction:
    """One system's answer to example ``id``: exactly one of the three is not None.

    ``query`` is any JSON value; ``structured`` distinguishes a null ``query`` from none.
    ``failure`` is why there is nothing to read.
    """

    id: int
    text: str | None = None
    query: Any = None
    failure: Failure | None = None
    structured: bool = False


def read_predictions(path: Path, format: str, ids: Sequence[int]) -> list[Prediction]:
    """The predictions of a file in id order.

    Args:
        path: the JSONL file.
        format: ``text`` or ``wikisql``.
        ids: every id that must be there once.

    Raises:
        UserError: an unreadable file or line, a missing, repeated or unknown id.
    """
    if format not in FORMATS:
        raise unknown("--format", format, FORMATS)
    try:
        if stat.S_ISCHR(path.stat().st_mode):
            raise UserError(f"cannot read {path}: it is a device. Give a JSONL file or a pipe.")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    wanted = set(ids)
    found: dict[int, Prediction] = {}
    problems: list[str] = []
    nameless = 0
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            prediction = _parse(line, format)
        except BadLine as error:
            problems.append(f"{path}:{number}: {error}")
            nameless += 1
            continue
        if prediction.id not in wanted:
            last = max(wanted, default=-1)
            problems.append(f"{path}:{number}: unknown id {prediction.id}; ids are 0..{last}")
        elif prediction.id in found:
            problems.append(f"{path}:{number}: id {prediction.id} appears twice")
        else:
            found[prediction.id] = prediction
    missing = sorted(wanted - found.keys())
    # Lines whose id cannot be read may be those that are missing.
    if len(missing) > nameless:
        listed = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        problems.append(
            f"{path}: {len(missing)} of {len(wanted)} ids are missing: {listed}. "
            'An example without an answer is a line {"id": …, "error": "…"}.'
        )
    if problems:
        more = len(problems) - _SHOWN
        tail = f"\n… and {more} more" if more > 0 else ""
        raise UserError("\n".join(problems[:_SHOWN]) + tail)
    return [found[index] for index in ids]


def _parse(line: bytes, format: str) -> Prediction:
    """The prediction of a line.

    Raises:
        BadLine: it is none of an example that can be named.
    """
    try:
        value = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadLine(f"not JSON at column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        if (named := _ID.match(line)) is None:
            raise BadLine("nested too deeply to be read") from error
        return _malformed(int(named[1]), "nested too deeply")
    if not isinstance(value, dict):
        raise BadLine(f"expected an object, got {kind_of(value)}")
    identity = _identity(value)
    problem = value.get("error")
    if problem:
        shown = problem if isinstance(problem, str) else "an error"
        return Prediction(identity, failure=Failure("prediction_error", shown[:200]))
    key = "text" if format == "text" else "query"
    if key not in value and not value.keys() - {"id", "error"}:
        # A line of another format has something else beside its id.
        return _malformed(identity, f'no "{key}" and no "error"')
    if key not in value:
        other = "query" if key == "text" else "text"
        hint = f'; for "{other}" use --format {"wikisql" if key == "text" else "text"}'
        raise BadLine(f'no "{key}"' + (hint if other in value else ' and no "error"'))
    if key == "query":
        return Prediction(identity, query=value["query"], structured=True)
    text = value["text"]
    if not isinstance(text, str):
        return _malformed(identity, f'"text" is {kind_of(text)}')
    return Prediction(identity, text=text)


def _malformed(identity: int, why: str) -> Prediction:
    return Prediction(identity, failure=Failure("malformed_query", why))


def _identity(value: dict[str, Any]) -> int:
    """The example that a line answers.

    Raises:
        BadLine: it names none.
    """
    wanted = "the line of the split that it answers, a whole number from 0"
    if "id" not in value:
        raise BadLine(f'no "id": {wanted}. Where the lines are in the split\'s order: {_NUMBERED}')
    identity = value["id"]
    if isinstance(identity, bool) or not isinstance(identity, int):
        quoted = isinstance(identity, str) and identity.isdecimal()
        hint = "; write it without quotes" if quoted else ""
        raise BadLine(f'"id" must be {wanted}, got {identity!r:.60}{hint}')
    return identity


def _integer(digits: str) -> int | Decimal:
    """A JSON whole number, of any length; one that Python does not convert is no integer here."""
    return int(digits) if len(digits) <= _MOST_DIGITS else Decimal(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


def read_structured(query: Any, table: Table) -> LogicalForm | Failure:
    """The logical form that ``query`` is, or a failure of kind ``malformed_query``.

    Stricter than the official evaluator, which takes Python's negative indices and booleans;
    its own verdict on such a query is official.py's.
    """
    width = len(table.header)
    match query:
        case {"sel": int() as sel, "agg": int() as agg, "conds": list() as conds} if (
            _index(sel, width) and _index(agg, len(AGGREGATIONS)) and len(conds) <= _MAX_CONDITIONS
        ):
            if all(_is_condition(cond, width) for cond in conds):
                return LogicalForm(sel, agg, tuple(Condition(*cond) for cond in conds))
    return Failure("malformed_query", f"no query of {table.id}")


def _is_condition(cond: Any, width: int) -> bool:
    if not isinstance(cond, list) or len(cond) != 3:
        return False
    column, operator, value = cond
    return _is_value(value) and _index(column, width) and _index(operator, len(OPERATORS))


def _is_value(value: Any) -> bool:
    """Whether a literal of SQL can be written of it: text, or a number that is one."""
    if isinstance(value, str):
        return mended(value) == value
    return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond the floats
        return False


def mended(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which can be neither stored nor
    sent."""
    return _SURROGATES.sub(REPLACEMENT, text)


def _index(value: Any, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
