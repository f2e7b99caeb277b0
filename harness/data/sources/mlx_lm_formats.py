"""Data in mlx-lm's own formats: `train/valid/test.jsonl` without tables -> `Dataset`.

Each line is `{"text": …}`, `{"prompt": …, "completion": …}` or `{"messages": [...]}`, perhaps with
`tools`; the first line decides for the folder, in mlx-lm's order of preference
(``mlx_lm/tuner/datasets.py: create_dataset``, 0.32.2). Loss, speed, memory, size and fusing are
measured on such data; nothing can be executed, since there is no table. How a row becomes tokens
is in `tokens.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.data.records import Dataset, LogicalForm, Split, TextExample
from harness.data.sources.jsonlines import (
    BadLine,
    existing,
    kind_of,
    member,
    parse_lines,
    read_bytes,
    read_dataset,
    split_of,
    text_digest,
)
from harness.errors import UserError
from harness.schema.dataset import DatasetFormat

_KEYS: dict[DatasetFormat, tuple[str, ...]] = {
    "completions": ("prompt", "completion"),
    "chat": ("messages",),
    "text": ("text",),
}
_BLANK = LogicalForm(0, 0, ())


def format_of(folder: Path) -> DatasetFormat | None:
    """Which of mlx-lm's formats ``folder`` is in; None where it has tables or is in none."""
    path = existing(folder, "train.jsonl")
    if path is None or existing(folder, "train.tables.jsonl") is not None:
        return None
    try:
        first = json.loads(read_bytes(path).split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return None
    if not isinstance(first, dict):
        return None
    return next((form for form, keys in _KEYS.items() if all(key in first for key in keys)), None)


_READ_FORMATS = (
    "Read are files of one JSON object a line: with prompt and completion, with messages, with "
    "text, or WikiSQL's (table_id, question and sql, and its tables in train.tables.jsonl)."
)
_KNOWN_OTHERS = {
    "output": "Alpaca's instruction (and input) is prompt here, its output completion.",
    "conversations": "ShareGPT's conversations are messages here: from is role (human is user, gpt "
    "is assistant), value is content.",
}


def refuse_other_formats(folder: Path) -> None:
    """Refuse texts in another layout than the ones that are read, naming the keys that they have.

    Raises:
        UserError: the training file is one JSON array, or its first line has other keys.
    """
    path = existing(folder, "train.jsonl") or existing(folder, "train.json")
    if path is None or existing(folder, "train.tables.jsonl") is not None:
        return
    data = read_bytes(path).lstrip()
    if data.startswith(b"["):
        raise UserError(
            f"{path} is one JSON array. {_READ_FORMATS} `jq -c '.[]'` makes lines of it."
        )
    try:
        first = json.loads(data.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return  # named with its line by whoever reads the file
    if isinstance(first, dict) and not first.keys() & {"table_id", "sql"}:
        told = "".join(f" {_KNOWN_OTHERS[key]}" for key in _KNOWN_OTHERS if key in first)
        keys = ", ".join(first) or "none"
        raise UserError(f"{path}: the keys of its first line are {keys}. {_READ_FORMATS}{told}")


def load_texts(folder: Path, name: str, form: DatasetFormat) -> Dataset:
    """Read the three splits of ``folder``, which is in format ``form``, as dataset ``name``.

    Raises:
        UserError: a split is missing or empty, or lines are damaged (all are listed).
    """

    def read(role: str, path: Path) -> tuple[Split, str]:
        data = read_bytes(path)
        rows = parse_lines(path, data, lambda line, value: _example(line, value, form, role))
        return Split(split_of(path), tuple(rows), {}), text_digest(data)

    return read_dataset(folder, name, form, read)


def _example(line: int, value: Mapping[str, Any], form: DatasetFormat, role: str) -> TextExample:
    missing = [key for key in _KEYS[form] if key not in value]
    if missing:
        raise BadLine(
            f"no {' and no '.join(missing)}, which the first line of train.jsonl has "
            f"(keys present: {', '.join(value) or 'none'})"
        )
    tools = value.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise BadLine(f"tools must be a list, got {kind_of(tools)}")
    text: str | None = None
    messages: tuple[Mapping[str, Any], ...] = ()
    if form == "text":
        text = question = _filled(value, "text")
    elif form == "completions":
        question = _filled(value, "prompt")
        answer = {"role": "assistant", "content": _filled(value, "completion")}
        messages = ({"role": "user", "content": question}, answer)
    else:
        messages = _messages(value["messages"])
        # What two rows must share to be the same question: everything before the answer.
        question = "\n".join(str(message.get("content")) for message in messages[:-1])
    return TextExample(
        id=line,
        table_id=f"{role}:{line}",
        question=question,
        gold=_BLANK,
        text=text,
        messages=messages,
        tools=None if tools is None else tuple(tools),
    )


def _filled(value: Mapping[str, Any], key: str) -> str:
    found = member(value, key, str)
    if not found:
        raise BadLine(f"{key} is empty")
    return found


def _messages(found: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(found, list) or len(found) < 2:
        raise BadLine("messages must be a list of two or more: something asked, and the answer")
    for place, message in enumerate(found):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadLine(f"message {place} must be an object with a role, got {kind_of(message)}")
    last = found[-1]
    if last["role"] != "assistant":
        raise BadLine(f"the last message must be the assistant's, got role {last['role']!r}")
    if not isinstance(last.get("content"), str):
        kind = kind_of(last.get("content"))
        raise BadLine(f"the content of the last message must be text, got {kind}")
    return tuple(found)
