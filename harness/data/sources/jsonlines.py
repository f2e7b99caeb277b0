"""JSON-lines files of a dataset's splits: a folder -> the objects of a file, every bad line told.

What the objects mean is the caller's (`wikisql.py`, `texts.py`). All problems of a file are told
together, each as `file:line: what is wrong`. A file may be compressed, `train.jsonl.gz`; the plain
one is preferred.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness.data.sources.parse import Damage, kind_of
from harness.errors import UserError

GZIP = ".gz"
_SHOWN = 10


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
        raise UserError(f"dataset folder {folder} does not exist; {wanted} should be in it.")
    found = {split_of(p) for end in ("", GZIP) for p in folder.glob(f"*.jsonl{end}")}
    listed = ", ".join(sorted(n for n in found if not n.endswith(".tables"))) or "none"
    raise UserError(f"{folder} holds no {wanted}. Splits present: {listed}.")


def existing(folder: Path, name: str) -> Path | None:
    """The file ``name`` of ``folder``, plain or compressed; None where there is neither."""
    return next((p for p in (folder / name, folder / f"{name}{GZIP}") if p.is_file()), None)


def split_of(path: Path) -> str:
    """The split's name: the file's without its endings."""
    return path.name.removesuffix(GZIP).removesuffix(".jsonl")


def read_bytes(path: Path) -> bytes:
    """The whole file, decompressed.

    Raises:
        UserError: the system refuses it, or a compressed file is damaged.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == GZIP else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged: {error}. Write or download it again.") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise Damage(f"{name} is not JSON; use null for a missing number")


# One decoder for all lines: json.loads with an option would build one a line.
_MAY_BE_HUGE = re.compile(rb"\d[eE]\+?\d{3}|\d{309}")
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def objects(path: Path, data: bytes, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object) of every readable line; the unreadable ones go to ``problems``."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            if not line.strip():
                raise Damage("empty line (ids are line numbers, so none may be skipped)")
            value = _DECODER.decode(line.decode("utf-8"))
            if b"\\u" in line and not _encodable(value):
                raise Damage("a \\u escape is half of a surrogate pair, which is no character")
            if _MAY_BE_HUGE.search(line) and not _finite(value):
                raise Damage("a number is beyond 1.8e308; write null, or text in a text column")
            if not isinstance(value, dict):
                raise Damage(f"expected a JSON object, got {kind_of(value)}")
        except UnicodeDecodeError as error:
            problems.append(f"{path}:{number}: not UTF-8 at byte {error.start}")
        except json.JSONDecodeError as error:
            problems.append(f"{path}:{number}: not JSON at column {error.colno}: {error.msg}")
        except (ValueError, RecursionError) as error:
            problems.append(f"{path}:{number}: {error}")
        else:
            yield number, value


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> bool:
    """Whether a float can hold every number in a JSON value."""
    if isinstance(value, dict | list):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    try:
        return not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:
        return False


def report(path: Path, problems: list[str]) -> None:
    """Raise the problems of a file as one :class:`UserError`, by line; none, no error."""
    if not problems:
        return
    problems.sort(key=lambda text: int(text[len(str(path)) + 1 :].split(":", 1)[0]))
    more = len(problems) - _SHOWN
    tail = f"\n… and {more} more" if more > 0 else ""
    raise UserError("\n".join(problems[:_SHOWN]) + tail)
