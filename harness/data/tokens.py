"""Examples -> token rows that training and measuring share: prompt + completion + one stop token.

Checked for every row: the prompt's tokens are a prefix of the text's (else loss over the completion
would count prompt tokens, or miss SQL ones); BOS is what the tokenizer itself adds, none or one;
one stop token, at the end. A text beyond ``max_length`` is cut and counted, a prompt beyond it is
an error: such a row would have no completion target left. Not covered: batches and padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.prompts import PromptStyle, chat_template_of, render_prompt
from harness.data.records import Example, Split, Table
from harness.errors import UserError


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One row. ``tokens[:prompt_length]`` is the prompt; the rest is SQL and the stop token."""

    id: int
    table_id: str
    tokens: tuple[int, ...]
    prompt_length: int


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Rows in the examples' order; ``truncated`` of them lost tokens (and the stop token)."""

    examples: tuple[TokenizedExample, ...]
    truncated: int


@dataclass(frozen=True, slots=True)
class _Edges:
    """What a tokenizer puts around a text, asked once: its BOS, EOS, and where it stops."""

    bos: str | None
    """The BOS text, where the tokenizer adds BOS by itself."""
    adds_eos: bool
    eos: int
    stop: int
    """What ends a row."""
    stops: frozenset[int]
    """Every token at which generation would stop."""


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
        tables: by id.
        style: how the task is written.
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
    edges = _edges(tokenizer, style)
    rows: list[TokenizedExample] = []
    too_long: list[TokenizedExample] = []
    truncated = 0
    for example in chosen:
        row = _row(example, tables[example.table_id], style, tokenizer, edges)
        if row.prompt_length >= max_length:
            too_long.append(row)
        elif len(row.tokens) > max_length:
            truncated += 1
            row = TokenizedExample(row.id, row.table_id, row.tokens[:max_length], row.prompt_length)
        rows.append(row)
    if too_long:
        raise _prompt_too_long(too_long, max_length)
    return Tokenized(tuple(rows), truncated)


def encode_prompt(
    tokenizer: Any, style: PromptStyle, question: str, table: Table, hint: str | None = None
) -> list[int]:
    """The prompt's tokens, with BOS exactly as in training, ready for generation."""
    text = render_prompt(tokenizer, style, question, table, hint)
    return _encode(tokenizer, text, _edges(tokenizer, style))


def render_text(tokenizer: Any, style: PromptStyle, example: Example, table: Table) -> str:
    """The training text that mlx-lm's `text` dataset encodes to the same row.

    mlx-lm appends the tokenizer's EOS itself. A tokenizer is needed for `chat` only.
    """
    prompt = render_prompt(tokenizer, style, example.question, table)
    if style.chat:
        bos = _edges(tokenizer, style).bos
        prompt = prompt.removeprefix(bos or "")
    return prompt + style.completion(example.gold, table)


def _row(
    example: Example, table: Table, style: PromptStyle, tokenizer: Any, edges: _Edges
) -> TokenizedExample:
    prompt_text = render_prompt(tokenizer, style, example.question, table)
    text = prompt_text + style.completion(example.gold, table)
    prompt = _encode(tokenizer, prompt_text, edges)
    tokens = _encode(tokenizer, text, edges)
    where = f"example {example.id} (table {example.table_id})"
    if tokens[: len(prompt)] != prompt or len(tokens) == len(prompt):
        raise UserError(
            f"{where}: this tokenizer merges across the end of the prompt in prompt style "
            f"{style.name!r}, so prompt and answer cannot be told apart. "
            "Use another --prompt-style, or report the model."
        )
    # A chat prompt closes the user's turn with a stop token of its own.
    checked = tokens[len(prompt) :] if style.chat else tokens
    if edges.stops.intersection(checked):
        raise UserError(
            f"{where}: the text itself contains a stop token of this tokenizer, so generation "
            "would end inside it. Remove the example or the special token's text."
        )
    bos = tokenizer.bos_token_id
    if bos is not None and tokens[:2] == [bos, bos]:
        raise UserError(
            f"{where}: two BOS tokens at the start; the chat template adds one too many."
        )
    return TokenizedExample(example.id, example.table_id, (*tokens, edges.stop), len(prompt))


def _encode(tokenizer: Any, text: str, edges: _Edges) -> list[int]:
    # A chat template may write the BOS that the tokenizer then adds again.
    tokens = [int(token) for token in tokenizer.encode(text.removeprefix(edges.bos or ""))]
    # Some tokenizers end every text with EOS; the stop token is added once, by us.
    if edges.adds_eos and tokens[-1:] == [edges.eos]:
        tokens.pop()
    return tokens


def _edges(tokenizer: Any, style: PromptStyle) -> _Edges:
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError(
            "this tokenizer has no end-of-text token (eos_token), so an answer could never stop. "
            "Set eos_token in the model's tokenizer_config.json."
        )
    # Only mlx-lm's wrapper knows several; Hugging Face gives the one EOS under this name too.
    known = getattr(tokenizer, "eos_token_ids", None)
    several = known if isinstance(known, set | frozenset | list | tuple) else ()
    stops = frozenset({int(eos), *map(int, several)})
    stop = int(eos)
    if style.chat and chat_template_of(tokenizer):
        stop = _turn_end(tokenizer, stops, default=stop)
    probe = list(tokenizer.encode("a"))
    adds_bos = tokenizer.bos_token_id is not None and probe[:1] == [tokenizer.bos_token_id]
    bos = str(tokenizer.bos_token) if adds_bos else None
    return _Edges(bos, probe[-1:] == [eos], int(eos), stop, stops)


def _turn_end(tokenizer: Any, stops: frozenset[int], default: int) -> int:
    """The stop token with which the chat template closes an assistant's turn, if it does."""
    answer = "SELECT 1"
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}]
    rendered = str(tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False))
    tail = rendered.rpartition(answer)[2]
    tokens = tokenizer.encode(tail, add_special_tokens=False) if tail else []
    return int(tokens[0]) if tokens and int(tokens[0]) in stops else default


def _prompt_too_long(rows: list[TokenizedExample], max_length: int) -> UserError:
    first = rows[0]
    longest = max(row.prompt_length for row in rows)
    return UserError(
        f"{len(rows)} prompts leave no room for an answer within {max_length} tokens: the first "
        f"is example {first.id} (table {first.table_id}, {first.prompt_length} tokens), the "
        f"longest has {longest}. Raise max_seq_length to at least {longest + 64} "
        "(--set max_seq_length=N) or use a model with a longer context."
    )
