"""docs/protocols.md matches the code: every kind, with an example that has it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from harness.data.answer_marks import ANSWERS, DRAFTS, PROSE_FENCES, REASONING
from harness.data.records import Table
from harness.protocols import EXECUTION
from harness.schema.execution import FailureKind
from harness.sql.column_names import DEFAULT_SCHEMAS, PLACEHOLDERS
from harness.sql.failures import Failure
from harness.sql.read.answer import WRAPPERS
from harness.sql.read.reader import Reader
from harness.sql.read.scanner import TAILS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
TABLE = Table("1-1", ("Player", "No."), ("text", "real"), ())
EXAMPLES = dict(re.findall(r"^\| `(\w+)` \| \S.* \| `(.+)` \|$", PAGE, re.MULTILINE))
"""Failure kind -> the example in the page's table, where every kind has a meaning too."""


def test_the_page_lists_every_failure_kind_with_its_meaning_and_example() -> None:
    assert list(EXAMPLES) == list(get_args(FailureKind))
    assert sum(line.startswith("| `") for line in PAGE.splitlines()) == len(EXAMPLES)


def test_the_page_has_a_section_for_every_protocol_and_its_version() -> None:
    for name in ("ex_official", "lf", "ex", "ex_strict", "ex_hardened", "valid"):
        assert f"## `{name}`" in PAGE
    assert EXECUTION in PAGE


def test_the_page_lists_the_names_and_wrappers_of_the_reader() -> None:
    for names in (REASONING, *ANSWERS, *DRAFTS, PROSE_FENCES, PLACEHOLDERS, DEFAULT_SCHEMAS):
        assert ", ".join(f"`{name}`" for name in names) in PAGE
    for name, meaning in WRAPPERS.items():
        assert f"- `{name}`: {meaning}\n" in PAGE
    assert ", ".join(TAILS) in PAGE


@pytest.mark.parametrize(
    "kind",
    ["no_query", "not_select", "syntax", "unknown_table", "unknown_column", "unsupported"],
)
def test_the_examples_fail_as_they_say(kind: str) -> None:
    failure = Reader().read(EXAMPLES[kind], TABLE)
    assert isinstance(failure, Failure)
    assert failure.kind == kind
