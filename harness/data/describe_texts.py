"""What data without tables is made of: `Dataset` in a format of mlx-lm's -> counts and Markdown.

The counterpart of `describe.py` for whole texts, prompts with completions and conversations.
"""

from __future__ import annotations

from statistics import fmean

from pydantic import BaseModel

from harness.data.leakage import leakage, repeated
from harness.data.records import Dataset, Split, TextExample

WHAT = {
    "text": "whole texts",
    "completions": "prompts with completions",
    "chat": "conversations",
}


class TextSplit(BaseModel):
    """Counts of one split."""

    name: str
    examples: int
    mean_characters: float
    longest_characters: int
    duplicates: int
    """Rows whose prompt (or whole text) stood before, with an equal answer."""
    conflicts: int
    """The same with another answer."""


class TextDescription(BaseModel):
    """What `describe` prints of such data; JSON with `model_dump()`."""

    name: str
    sha256: str
    form: str
    splits: list[TextSplit]
    shared_questions: int
    """Prompts (or whole texts) found in more than one split."""


def describe_texts(dataset: Dataset) -> TextDescription:
    """Count everything that can be told without a tokenizer."""
    return TextDescription(
        name=dataset.name,
        sha256=dataset.sha256,
        form=dataset.form,
        splits=[_split(split) for split in (dataset.train, dataset.valid, dataset.test)],
        shared_questions=leakage(dataset).shared_questions,
    )


def render_texts(description: TextDescription) -> str:
    """The description as Markdown."""
    splits = description.splits
    rows = (
        ("examples", [f"{split.examples:,}" for split in splits]),
        ("mean characters", [f"{split.mean_characters:,.0f}" for split in splits]),
        ("longest", [f"{split.longest_characters:,}" for split in splits]),
        ("repeated", [str(split.duplicates) for split in splits]),
        ("conflicting answers", [str(split.conflicts) for split in splits]),
    )
    lines = [
        f"# {description.name}",
        "",
        f"sha256 {description.sha256}",
        "",
        f"{WHAT[description.form].capitalize()} in mlx-lm's format, without tables: loss, speed, "
        "memory, size and fusing can be measured, execution accuracy cannot.",
        "",
        "| | " + " | ".join(split.name for split in splits) + " |",
        "|---|" + "---:|" * len(splits),
        *(f"| {label} | " + " | ".join(cells) + " |" for label, cells in rows),
        "",
        f"Shared between splits: {description.shared_questions} prompts or texts.",
    ]
    return "\n".join(lines) + "\n"


def _split(split: Split) -> TextSplit:
    lengths = [_characters(e) for e in split.examples if isinstance(e, TextExample)]
    found = repeated(split.examples)
    return TextSplit(
        name=split.name,
        examples=len(split.examples),
        mean_characters=fmean(lengths),
        longest_characters=max(lengths),
        duplicates=found.equal,
        conflicts=found.conflicting,
    )


def _characters(example: TextExample) -> int:
    if example.text is not None:
        return len(example.text)
    return sum(len(str(message.get("content") or "")) for message in example.messages)
