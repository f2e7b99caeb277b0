"""Rows of a long evaluation, kept batch by batch: a killed process loses only unfinished batches.

Rows by position -> lines of a file, each with its checksum; and back, in a later process. A torn or
damaged line is reported and dropped: its batch is computed again. Lines are appended, so keeping a
batch costs the same however many there are. Rows under another ``head`` (what decides them besides
the file's place, e.g. the kernels chosen) are dropped as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.disk.files import write_text, writing
from harness.progress import print_message

_DIGITS = 16


class Journal:
    """The rows kept in ``path`` so far; :meth:`add` keeps more."""

    def __init__(self, path: Path, head: Any, note: Callable[[], Any] = lambda: None) -> None:
        """Read the rows that an earlier process kept.

        Args:
            path: the file; made with the first batch.
            head: JSON that must be equal for rows to belong together.
            note: JSON to keep with each batch, e.g. the time it took.
        """
        self.rows: dict[int, Any] = {}
        """By position."""
        self.notes: list[Any] = []
        """Those of earlier processes, in order."""
        self._path = path
        self._note = note
        self._head = json.loads(json.dumps(head))
        if not self._read():
            self.rows, self.notes = {}, []
            self._write("w", [{"head": self._head}])

    def add(self, rows: Mapping[int, Any]) -> None:
        """Keep a finished batch.

        Raises:
            UserError: the disk refuses.
        """
        self.rows.update(rows)
        batch: dict[str, Any] = {"rows": list(rows.items()), "note": self._note()}
        if self._path.exists():
            self._write("a", [batch])
        else:  # somebody removed it
            self._write("w", [{"head": self._head}, batch | {"rows": list(self.rows.items())}])

    def _read(self) -> bool:
        """Read the rows of the file; False where there are none under this head."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return False
        contents = [_content(line) for line in lines[:-1]]
        damaged = [number for number, content in enumerate(contents, 1) if content is None]
        torn = lines[-1] != b""
        if damaged:
            print_message(
                f"tunebench: {self._path} is damaged in line "
                f"{', '.join(map(str, damaged))}: computed again"
            )
        if not contents or contents[0] != {"head": self._head}:
            return False
        for content in contents[1:]:
            if content is not None:
                self.rows.update(content["rows"])
                self.notes.append(content["note"])
        if damaged or torn:
            # Without the damaged lines, so that the next one starts at the beginning of a line.
            write_text(self._path, "".join(_line(c) for c in contents if c is not None))
        return True

    def _write(self, mode: str, contents: list[Any]) -> None:
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open(mode, encoding="utf-8") as stream:
                stream.write("".join(map(_line, contents)))


def _line(content: Any) -> str:
    text = json.dumps(content)
    return f"{_checksum(text.encode())} {text}\n"


def _content(line: bytes) -> Any:
    """The JSON of a line; None if its checksum is wrong."""
    checksum, _, text = line.partition(b" ")
    return json.loads(text) if checksum.decode("ascii", "replace") == _checksum(text) else None


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_DIGITS]
