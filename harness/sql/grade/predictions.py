"""Predictions: a JSONL file -> one checked prediction for every example; JSON -> logical form.

A line is ``{"id": line, "text": …}``, ``{"id": line, "query": {…}}`` (``--format wikisql``) or
``{"id": line, "error": …}``. All problems of a file are reported at once, and nothing is graded
before the file is whole. A malformed ``query`` is not a problem of the file but a wrong answer,
of kind ``malformed_query``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.records import AGGREGATIONS, OPERATORS, Condition, LogicalForm, Table
from harness.errors import UserError, unknown
from harness.sql.failures import Failure

FORMATS = ("text", "wikisql")
_SHOWN = 10
_MAX_CONDITIONS = 100


@dataclass(frozen=True, slots=True)
class Prediction:
    """One system's answer to example ``id``: exactly one of the three is not None.

    ``query`` is any JSON value; ``structured`` distinguishes a null ``query`` from none.
    """

    id: int
    text: str | None = None
    query: Any = None
    error: str | None = None
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
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    wanted = set(ids)
    found: dict[int, Prediction] = {}
    problems: list[str] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        prediction = _parse(line, format)
        if isinstance(prediction, str):
            problems.append(f"{path}:{number}: {prediction}")
        elif prediction.id not in wanted:
            last = max(wanted, default=-1)
            problems.append(f"{path}:{number}: unknown id {prediction.id}; ids are 0..{last}")
        elif prediction.id in found:
            problems.append(f"{path}:{number}: id {prediction.id} appears twice")
        else:
            found[prediction.id] = prediction
    missing = sorted(wanted - found.keys())
    if missing and len(problems) < _SHOWN:
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


def _parse(line: bytes, format: str) -> Prediction | str:
    """The prediction of a line, or what is wrong with it."""
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except json.JSONDecodeError as error:
        return f"not JSON at column {error.colno}: {error.msg}"
    except (RecursionError, ValueError) as error:
        return f"not readable JSON: {error}"
    if not isinstance(value, dict):
        return f"expected an object, got {type(value).__name__}"
    identity = value.get("id")
    if isinstance(identity, bool) or not isinstance(identity, int):
        return f'"id" must be the 0-based line of the split, got {identity!r}'
    problem = value.get("error")
    if problem:
        return Prediction(identity, error=str(problem))
    key = "text" if format == "text" else "query"
    if key not in value:
        other = "query" if key == "text" else "text"
        hint = f'; for "{other}" use --format {"wikisql" if key == "text" else "text"}'
        return f'no "{key}"' + (hint if other in value else ' and no "error"')
    if key == "query":
        return Prediction(identity, query=value["query"], structured=True)
    text = value["text"]
    if not isinstance(text, str):
        return f'"text" must be a string, got {json.dumps(text)[:40]}'
    return Prediction(identity, text=text)


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
    return Failure("malformed_query", f"{query!r:.60} is no query of {table.id}")


def _is_condition(cond: Any, width: int) -> bool:
    if not isinstance(cond, list) or len(cond) != 3:
        return False
    column, operator, value = cond
    typed = isinstance(value, str | int | float) and not isinstance(value, bool)
    return typed and _index(column, width) and _index(operator, len(OPERATORS))


def _index(value: Any, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size
