"""The date that chat templates write: fixed, and part of what a cached adapter is found by."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from test_data_tokens import TABLES, byte_tokenizer, example
from test_texts import ROWS, read

from harness.data import chat_template
from harness.data.chat_template import apply_template
from harness.data.prompts import STYLES, style, texts_key
from harness.data.tokens import tokenize

LLAMA = """
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
"""
"""The lines of Llama-3.2-Instruct's template that write the date."""

TURNS = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
NOW = '{{ "Current date: " + strftime_now("%Y-%m-%d") + "\\n" }}'
"""As gpt-oss's template has it, which takes no date from outside."""


def shown(template: str) -> str:
    tokenizer = byte_tokenizer(template=template + TURNS)
    (row,) = tokenize([example("q")], TABLES, style("chat"), tokenizer, 500).examples
    return str(tokenizer.decode(row.tokens[: row.prompt_length]))


def test_llama_s_and_gpt_oss_s_prompts_show_the_fixed_day_and_not_today() -> None:
    assert shown(LLAMA).startswith(
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    )
    assert shown(NOW).startswith("Current date: 2024-07-26\n")


def test_the_clock_goes_on_afterwards() -> None:
    from transformers.utils import chat_template_utils

    shown(NOW)
    assert chat_template_utils.datetime is datetime.datetime


def test_a_renderer_that_takes_no_date_is_given_none() -> None:
    def render(messages: list[Any], **options: Any) -> dict[str, Any]:
        return options

    tokenizer = SimpleNamespace(apply_chat_template=render, chat_template=None)
    assert apply_template(tokenizer, [{"role": "user"}], "here", "", tokenize=False) == {
        "tokenize": False
    }


def test_a_text_of_another_date_has_another_key(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversations = read(tmp_path, ROWS["chat"])
    keys: dict[str, Callable[[], str]] = {
        **{name: lambda one=one: one.sha256 for name, one in STYLES.items()},
        "conversations": lambda: texts_key(style("dialect"), conversations),
    }
    before = {name: key() for name, key in keys.items()}
    monkeypatch.setattr(chat_template, "DATE", datetime.date(2025, 1, 1))
    changed = {name for name, key in keys.items() if key() != before[name]}
    assert changed == {"chat", "conversations"}
