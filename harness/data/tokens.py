"""Examples -> the token rows that training and measuring share, and facts about them.

A row of WikiSQL's is prompt, completion and one stop token. Checked for every one: the prompt's
tokens are a prefix of the text's (else loss over the completion would count prompt tokens, or miss
tokens of the SQL); BOS is what the tokenizer itself adds, none or one; the one stop token stands at
the end. A row in one of mlx-lm's own formats has the very tokens that mlx-lm trains on
(``mlx_lm/tuner/datasets.py``, 0.32.2), so that `mlx_lm_compat` is mlx-lm's own number there.

A row beyond ``max_length`` tokens is cut and counted; a prompt beyond it is an error, since such a
row would have no completion target left. Not covered: batches and padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.data.chat_template import apply_template, has_chat_template
from harness.data.prompts import PromptStyle, render_prompt
from harness.data.records import Example, Split, Table, TextExample
from harness.data.special_tokens import SpecialTokens, encode, special_tokens, stop_tokens
from harness.errors import UserError


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One row. ``tokens[:prompt_length]`` is the prompt; the rest is the answer and its stop token.

    Without ``has_answer`` it is not known where in the text an answer begins: there is no
    completion loss, and ``prompt_length`` is only the place from which a continuation is generated.
    """

    id: int
    table_id: str
    tokens: tuple[int, ...]
    prompt_length: int
    has_answer: bool = True


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
        tables: by id; they and the style are not used for rows in mlx-lm's own formats.
        style: how the task is written.
        tokenizer: mlx-lm's wrapper or a Hugging Face tokenizer.
        max_length: the longest row in tokens, the stop token included (the smaller of the
            variant's `max_seq_length` and the model's context).

    Raises:
        UserError: a prompt leaves no token for an answer (all are counted, the first and the
            longest named), or a tokenizer that breaks the prompt boundary or cannot stop.
    """
    chosen = examples.examples if isinstance(examples, Split) else examples
    if not chosen:
        return Tokenized((), 0)
    special = special_tokens(tokenizer, style)
    rows: list[TokenizedExample] = []
    too_long: list[TokenizedExample] = []
    truncated = 0
    for example in chosen:
        if isinstance(example, TextExample):
            row = _mlx_lm_row(example, tokenizer, special, max_length)
        else:
            row = _wikisql_row(example, tables[example.table_id], style, tokenizer, special)
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
    return encode(tokenizer, text, special_tokens(tokenizer, style))


def render_text(tokenizer: Any, style: PromptStyle, example: Example, table: Table) -> str:
    """The training text that mlx-lm's `text` dataset encodes to the same row.

    mlx-lm appends the tokenizer's EOS itself. A tokenizer is needed for `chat` only.
    """
    prompt = render_prompt(tokenizer, style, example.question, table)
    if style.chat:
        bos = special_tokens(tokenizer, style).bos
        prompt = prompt.removeprefix(bos or "")
    return prompt + style.completion(example.gold, table)


def row_facts(found: Tokenized, tokenizer: Any, limit: int) -> str:
    """Counts over the rows of a split, in words.

    Args:
        found: at least one row.
        tokenizer: the one that made the rows.
        limit: the longest row allowed, in tokens.
    """
    rows, stops = found.examples, stop_tokens(tokenizer)
    lengths = [len(row.tokens) for row in rows]
    answers = [row.tokens[row.prompt_length :] if row.has_answer else row.tokens for row in rows]
    counts = [sum(token in stops for token in answer) for answer in answers]
    bos = tokenizer.bos_token_id
    with_bos = 0 if bos is None else sum(row.tokens[0] == bos for row in rows)
    without_stop, several_stops = counts.count(0), sum(count > 1 for count in counts)
    bos_facts = {0: "no BOS", len(rows): "one BOS each"}
    stop_facts = []
    if without_stop:  # among them rows that were cut
        stop_facts.append(f"{without_stop:,} without a stop token")
    if several_stops:
        stop_facts.append(f"{several_stops:,} with more than one")
    marked = all(row.has_answer for row in rows)
    remedy = " (raise it with --set max_seq_length=N)" if found.truncated else ""
    facts = [
        bos_facts.get(with_bos, f"a BOS in {with_bos:,} of them"),
        ", ".join(stop_facts) or "one stop token each",
        "every prompt a token prefix" if marked else "answers not marked",
        f"{found.truncated:,} cut at {limit:,} tokens{remedy}",
    ]
    return f"{len(rows):,} rows of {min(lengths)} to {max(lengths)} tokens: {', '.join(facts)}"


def _wikisql_row(
    example: Example, table: Table, style: PromptStyle, tokenizer: Any, special: SpecialTokens
) -> TokenizedExample:
    prompt_text = render_prompt(tokenizer, style, example.question, table)
    text = prompt_text + style.completion(example.gold, table)
    prompt = encode(tokenizer, prompt_text, special)
    tokens = encode(tokenizer, text, special)
    where = f"example {example.id} (table {example.table_id})"
    if tokens[: len(prompt)] != prompt or len(tokens) == len(prompt):
        raise UserError(
            f"{where}: this tokenizer merges across the end of the prompt in prompt style "
            f"{style.name!r}, so prompt and answer cannot be separated. "
            "Use another --prompt-style, or report the model."
        )
    # A chat prompt closes the user's turn with a stop token of its own, and one token may serve
    # as BOS and as EOS.
    checked = tokens[len(prompt) if style.chat else int(special.bos is not None) :]
    if special.stops.intersection(checked):
        raise UserError(
            f"{where}: the text itself contains a stop token of this tokenizer, so generation "
            "would end inside it. Remove the example or the special token's text."
        )
    bos = tokenizer.bos_token_id
    if special.bos is not None and not style.chat and tokens.count(bos) > 1:
        raise UserError(
            f"{where}: the text itself contains {special.bos!r}, this tokenizer's token for the "
            "beginning. Remove the example or the special token's text."
        )
    if bos is not None and tokens[:2] == [bos, bos]:
        raise UserError(
            f"{where}: two BOS tokens at the start; the chat template adds one too many."
        )
    return TokenizedExample(example.id, example.table_id, (*tokens, special.stop), len(prompt))


def _mlx_lm_row(
    example: TextExample, tokenizer: Any, special: SpecialTokens, max_length: int
) -> TokenizedExample:
    """A row in one of mlx-lm's formats, not cut.

    A whole text gets the tokenizer's EOS unless it ends in it; its continuation starts within the
    first ``max_length`` tokens. The other formats go through the model's chat template and end as
    it ends them.
    """
    where = f"row {example.table_id}"
    if example.text is not None:
        tokens = [int(token) for token in tokenizer.encode(example.text)]
        if tokens[-1:] != [special.eos]:
            tokens.append(special.eos)
        # It is not known where in the text an answer begins. Half of the text serves as a prompt,
        # so that speed, memory and the effect of fusing can be measured.
        start, has_answer = max(1, min(len(tokens), max_length) // 2), False
    else:
        tokens = _conversation_tokens(example, tokenizer, answered=True)
        prompt = _conversation_tokens(example, tokenizer, answered=False)
        start, has_answer = len(prompt), True
        if tokens[:start] != prompt or len(tokens) == start:
            raise UserError(
                f"{where}: the model's chat template writes the prompt otherwise when an answer "
                "follows, so prompt and answer cannot be separated. Give whole texts instead: "
                '{"text": …} a line.'
            )
    bos = tokenizer.bos_token_id
    if bos is not None and tokens[:2] == [bos, bos]:
        raise UserError(
            f"{where}: two BOS tokens at the start: the text has one and the tokenizer adds "
            f"another. Take {tokenizer.bos_token!r} out of the data."
        )
    return TokenizedExample(example.id, example.table_id, tuple(tokens), start, has_answer)


def _conversation_tokens(example: TextExample, tokenizer: Any, answered: bool) -> list[int]:
    """The tokens of ``example``'s messages, with the answer or up to it."""
    if not has_chat_template(tokenizer):
        raise UserError(
            "prompts with completions, and messages, go through the model's chat template, as in "
            "mlx-lm, and this model's tokenizer has none. Use an instruct model, or write whole "
            'texts: {"text": …} a line.'
        )
    tokens: Sequence[int] = apply_template(
        tokenizer,
        example.messages if answered else example.messages[:-1],
        f"row {example.table_id}",
        "Take out what it refuses (a system's text may stand before the user's), use another "
        'model, or give whole texts: {"text": …} a line.',
        tools=None if example.tools is None else list(example.tools),
        add_generation_prompt=not answered,
        return_dict=False,
    )
    return [int(token) for token in tokens]


def _prompt_too_long(rows: list[TokenizedExample], max_length: int) -> UserError:
    first = rows[0]
    longest = max(row.prompt_length for row in rows)
    return UserError(
        f"{len(rows)} prompts leave no token for an answer within {max_length} tokens: the first "
        f"is example {first.id} (table {first.table_id}, {first.prompt_length} tokens), the "
        f"longest has {longest}. Raise max_seq_length to at least {longest + 64} "
        "(--set max_seq_length=N) or use a model with a longer context."
    )
