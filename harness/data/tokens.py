"""Examples -> token rows that training and measuring share: prompt + completion + one stop token.

Checked for every row: the prompt's tokens are a prefix of the text's (else loss over the completion
would count prompt tokens, or miss SQL ones); BOS is what the tokenizer itself adds, none or one;
one stop token, at the end. A text beyond ``max_length`` is cut and counted, a prompt beyond it is
an error: such a row would have no completion target left. Not covered: batches and padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.data.prompts import PromptStyle, render_prompt
from harness.data.records import Example, Split, Table, TextExample
from harness.data.rows import TokenizedExample
from harness.data.special_tokens import Edges, edges_of, encode
from harness.data.text_tokens import text_row
from harness.errors import UserError

__all__ = ["Tokenized", "TokenizedExample", "encode_prompt", "render_text", "tokenize"]


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Rows in the examples' order; ``truncated`` of them lost tokens (and the stop token)."""

    examples: tuple[TokenizedExample, ...]
    truncated: int


def tokenize(
    examples: Split | Sequence[Example],
    tables: Mapping[str, Table],
    style: PromptStyle,
    tokenizer: Any,
    max_length: int,
) -> Tokenized:
    """Token rows of ``examples``; none in, none out.

    Args:
        examples: a split or a selection of it.
        tables: by id; not asked for the rows of mlx-lm's own formats.
        style: how the task is written; such rows are taken as they are.
        tokenizer: mlx-lm's wrapper or a Hugging Face tokenizer.
        max_length: the longest row in tokens, the stop token included (the smaller of the
            variant's `max_seq_length` and the model's context).

    Raises:
        UserError: a prompt that leaves no room for an answer (all are counted, the first and the
            longest named), or a tokenizer that breaks the prompt boundary or cannot stop.
    """
    chosen = examples.examples if isinstance(examples, Split) else examples
    if not chosen:
        return Tokenized((), 0)
    edges = edges_of(tokenizer, style)
    rows: list[TokenizedExample] = []
    too_long: list[TokenizedExample] = []
    truncated = 0
    for example in chosen:
        if isinstance(example, TextExample):
            row = text_row(example, tokenizer, edges, max_length)
        else:
            row = _row(example, tables[example.table_id], style, tokenizer, edges)
        if row.prompt_length >= max_length:
            too_long.append(row)
        elif len(row.tokens) > max_length:
            truncated += 1
            row = replace(row, tokens=row.tokens[:max_length])
        rows.append(row)
    if too_long:
        raise _prompt_too_long(too_long, max_length)
    return Tokenized(tuple(rows), truncated)


def encode_prompt(
    tokenizer: Any, style: PromptStyle, question: str, table: Table, hint: str | None = None
) -> list[int]:
    """The prompt's tokens, with BOS exactly as in training, ready for generation."""
    text = render_prompt(tokenizer, style, question, table, hint)
    return encode(tokenizer, text, edges_of(tokenizer, style))


def render_text(tokenizer: Any, style: PromptStyle, example: Example, table: Table) -> str:
    """The training text that mlx-lm's `text` dataset encodes to the same row.

    mlx-lm appends the tokenizer's EOS itself. A tokenizer is needed for `chat` only.
    """
    prompt = render_prompt(tokenizer, style, example.question, table)
    if style.chat:
        bos = edges_of(tokenizer, style).bos
        prompt = prompt.removeprefix(bos or "")
    return prompt + style.completion(example.gold, table)


def _row(
    example: Example, table: Table, style: PromptStyle, tokenizer: Any, edges: Edges
) -> TokenizedExample:
    prompt_text = render_prompt(tokenizer, style, example.question, table)
    text = prompt_text + style.completion(example.gold, table)
    prompt = encode(tokenizer, prompt_text, edges)
    tokens = encode(tokenizer, text, edges)
    where = f"example {example.id} (table {example.table_id})"
    if tokens[: len(prompt)] != prompt or len(tokens) == len(prompt):
        raise UserError(
            f"{where}: this tokenizer merges across the end of the prompt in prompt style "
            f"{style.name!r}, so prompt and answer cannot be told apart. "
            "Use another --prompt-style, or report the model."
        )
    # A chat prompt closes the user's turn with a stop token of its own, and one token may serve
    # as BOS and as EOS.
    checked = tokens[len(prompt) if style.chat else int(edges.bos is not None) :]
    if edges.stops.intersection(checked):
        raise UserError(
            f"{where}: the text itself contains a stop token of this tokenizer, so generation "
            "would end inside it. Remove the example or the special token's text."
        )
    bos = tokenizer.bos_token_id
    if edges.bos is not None and not style.chat and tokens.count(bos) > 1:
        raise UserError(
            f"{where}: the text itself contains {edges.bos!r}, this tokenizer's token for the "
            "beginning. Remove the example or the special token's text."
        )
    if bos is not None and tokens[:2] == [bos, bos]:
        raise UserError(
            f"{where}: two BOS tokens at the start; the chat template adds one too many."
        )
    return TokenizedExample(example.id, example.table_id, (*tokens, edges.stop), len(prompt))


def _prompt_too_long(rows: list[TokenizedExample], max_length: int) -> UserError:
    first = rows[0]
    longest = max(row.prompt_length for row in rows)
    return UserError(
        f"{len(rows)} prompts leave no room for an answer within {max_length} tokens: the first "
        f"is example {first.id} (table {first.table_id}, {first.prompt_length} tokens), the "
        f"longest has {longest}. Raise max_seq_length to at least {longest + 64} "
        "(--set max_seq_length=N) or use a model with a longer context."
    )
