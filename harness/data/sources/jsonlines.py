"""The JSON-lines files of a dataset's splits: a folder -> the objects of a file, line by line.

What the objects mean is the caller's part (`wikisql.py`, `mlx_lm_formats.py`). All problems of a
file are reported together, each as `file:line: what is wrong`. A file may be compressed,
`train.jsonl.gz`; the plain one is preferred.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from harness.data.records import Dataset, Split
from harness.disk.files import explaining
from harness.errors import UserError
from harness.schema.dataset import DatasetFormat

T = TypeVar("T")

GZIP = ".gz"
MAX_UNPACKED_BYTES = 512 << 20
"""Cap on a compressed file, far above WikiSQL's; a plain one may be larger."""

SPLIT_NAMES = (("train", ("train",)), ("valid", ("valid", "dev")), ("test", ("test",)))
"""The splits of a dataset, each with the file names that a folder may use, preferred first."""

_SHOWN = 10
_MARK = b"\xef\xbb\xbf"


class BadLine(ValueError):
    """What is wrong with one line of a dataset's file, without the place."""


def read_dataset(
    folder: Path, name: str, form: DatasetFormat, read: Callable[[str, Path], tuple[Split, str]]
) -> Dataset:
    """The three splits of ``folder`` (`valid` or `dev` validates) as dataset ``name``.

    ``read(role, file)`` gives a split and the SHA-256 of every file that it was read from.

    Raises:
        UserError: a split is missing; and what ``read`` raises.
    """
    digest = hashlib.sha256()
    splits = []
    for role, names in SPLIT_NAMES:
        split, sha256 = read(role, first_existing(folder, names))
        digest.update(f"{role} {sha256}\n".encode())
        splits.append(split)
    train, valid, test = splits
    return Dataset(name, digest.hexdigest(), folder, train, valid, test, form)


def first_existing(folder: Path, names: Sequence[str]) -> Path:
    """The file of the first split of ``names`` that ``folder`` holds.

    Raises:
        UserError: it holds none; the splits present are listed.
    """
    for name in names:
        path = existing(folder, f"{name}.jsonl")
        if path is not None:
            return path
    wanted = " or ".join(f"{name}.jsonl" for name in names)
    if not folder.is_dir():
        raise UserError(
            f"dataset folder {folder} does not exist. Give a folder holding {wanted}, and its "
            "tables if queries are to be run."
        )
    found = {split_of(p) for end in ("", GZIP) for p in folder.glob(f"*.jsonl{end}")}
    listed = ", ".join(sorted(n for n in found if not n.endswith(".tables"))) or "none"
    # mlx-lm trains without one, so that an adapter of yesterday has learned all of train.
    unseen = " An adapter has not learned valid.jsonl: copy it as test.jsonl."
    told = unseen if "test" in names and "valid" in found else ""
    raise UserError(f"{folder} holds no {wanted}. Splits present: {listed}.{told}")


def existing(folder: Path, name: str) -> Path | None:
    """The file ``name`` of ``folder``, plain or compressed; None where there is neither."""
    return next((p for p in (folder / name, folder / f"{name}{GZIP}") if p.is_file()), None)


def split_of(path: Path) -> str:
    """The split's name: the file's without its endings."""
    return path.name.removesuffix(GZIP).removesuffix(".jsonl")


def read_bytes(path: Path) -> bytes:
    """The whole file, decompressed.

    Raises:
        UserError: the system refuses to read it, or a compressed file is damaged.
    """
    with explaining(f"cannot read {path}"):
        data = path.read_bytes()
    if path.suffix != GZIP:
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            whole = stream.read(MAX_UNPACKED_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged: {error}. Write or download it again.") from error
    if len(whole) > MAX_UNPACKED_BYTES:
        raise UserError(
            f"{path} was refused: it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes. Give the "
            f"file without {GZIP}, or a part of it."
        )
    return whole


def text_digest(data: bytes) -> str:
    """SHA-256 of a file of lines, the same whichever ends a system gave them (git may exchange
    them), with or without a byte order mark: neither changes what is read."""
    return hashlib.sha256(data.removeprefix(_MARK).replace(b"\r\n", b"\n")).hexdigest()


def parse_lines(path: Path, data: bytes, parse: Callable[[int, dict[str, Any]], T]) -> list[T]:
    """What ``parse(line, object)`` makes of each line of ``data``; lines count from 0.

    ``path`` names the file in messages; ``parse`` raises :class:`BadLine` for an object that it
    does not accept.

    Raises:
        UserError: no line, or lines that are no JSON object, or that ``parse`` does not accept.
    """
    lines = data.removeprefix(_MARK).split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty: it needs at least one line.")
    parsed: list[T] = []
    problems: list[str] = []
    for number, line in enumerate(lines):
        try:
            parsed.append(parse(number, _object(line)))
        except (BadLine, RecursionError) as error:
            problems.append(f"{path}:{number + 1}: {error}")
    if problems:
        raise line_problems(problems)
    return parsed


def line_problems(problems: Sequence[str]) -> UserError:
    """The error that lists the first ten ``problems``, one a line, and counts the others."""
    more = len(problems) - _SHOWN
    return UserError("\n".join(problems[:_SHOWN]) + (f"\n… and {more} more" if more > 0 else ""))


_KINDS = {bool: "true/false", type(None): "null", str: "text", dict: "an object", list: "a list"}


def kind_of(value: Any) -> str:
    """What a JSON value is, in a user's words."""
    return _KINDS.get(type(value), f"the number {value}"[:60])


def member(value: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """``value[key]``, which must be of ``kind``: text, a list or an object; ``object`` is anything.

    Raises:
        BadLine: the key is missing, or its value is of another kind.
    """
    if key not in value:
        raise BadLine(f"key {key!r} is missing (keys present: {', '.join(value) or 'none'})")
    found = value[key]
    if not isinstance(found, kind):
        raise BadLine(f"{key} must be {_KINDS[kind]}, got {kind_of(found)}")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise BadLine(f"{name} is not JSON; use null for a missing number")


# One decoder for all lines: json.loads with an option would build one for each.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_MAY_BE_HUGE = re.compile(rb"\d[eE]\+?\d{3}|\d{309}")


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object that ``line`` holds.

    Raises:
        BadLine: it holds none, or one that cannot be stored again as JSON.
    """
    try:
        if not line.strip():
            raise BadLine("empty line (ids are line numbers, so none may be skipped)")
        value = _DECODER.decode(line.decode("utf-8"))
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
        if _MAY_BE_HUGE.search(line):
            json.loads(line, parse_int=_finite, parse_float=_finite)
    except UnicodeEncodeError as error:
        reason = "a \\u escape is half of a surrogate pair, which is no character"
        raise BadLine(reason) from error
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadLine(f"not JSON at column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise BadLine(str(error)) from error
    if not isinstance(value, dict):
        raise BadLine(f"expected a JSON object, got {kind_of(value)}")
    return value


def _finite(number: str) -> float:
    """The number, if a float can hold it."""
    found = float(number)
    if math.isinf(found):
        raise BadLine("a number is beyond 1.8e308; write null, or text in a text column")
    return found
