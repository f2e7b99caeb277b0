"""The output of every command: text for people, or with `--json` one JSON object and nothing else.

Messages and progress go to standard error, so that standard output can be piped.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from harness.markdown import encodable, visible

JsonFlag = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")
]


def answer(as_json: bool, value: Any, text: str) -> None:
    """Print ``value`` as JSON, or ``text``: a terminal obeys no character of it and shows each."""
    encoding = sys.stdout.encoding
    if as_json:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if encodable(written, encoding) != written:
            written = json.dumps(value, allow_nan=False)
    else:
        written = encodable(visible(text).rstrip("\n"), encoding)
    sys.stdout.write(f"{written}\n")
    sys.stdout.flush()
