"""The output of every command: text for people, or with `--json` one JSON object and nothing else.

Messages and progress go to standard error, so that standard output can be piped.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from harness.markdown import visible

JsonFlag = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")
]


def answer(as_json: bool, value: Any, text: str) -> None:
    """Print ``value`` as JSON, or ``text``, of which a terminal obeys no character."""
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        sys.stdout.write(visible(text).rstrip("\n") + "\n")
    sys.stdout.flush()
