"""Rows of mlx-lm's own formats -> the very tokens that mlx-lm trains on, and where the answer is.

A text gets the tokenizer's EOS unless it ends in it; conversations (and prompts with completions)
go through the model's chat template and end as it ends them: ``mlx_lm/tuner/datasets.py`` (0.32.2).
So `mlx_lm_compat` on such data is mlx-lm's own number. Checked here: no BOS twice, and the
prompt's tokens are a prefix of the row's, which mlx-lm's prompt mask assumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.data.chat_template import REFUSALS, chat_template_of, refusal_of
from harness.data.records import TextExample
from harness.data.rows import TokenizedExample
from harness.data.special_tokens import Edges
from harness.errors import UserError


def text_row(
    example: TextExample, tokenizer: Any, edges: Edges, max_length: int
) -> TokenizedExample:
    """The row of ``example``, not cut; a continuation starts within the first ``max_length``.

    Raises:
        UserError: a BOS too many, no chat template, or one that breaks the prompt boundary.
    """
    where = f"row {example.table_id}"
    if example.text is not None:
        tokens = [int(token) for token in tokenizer.encode(example.text)]
        if tokens[-1:] != [edges.eos]:
            tokens.append(edges.eos)
        # Half of the text stands in for a prompt, so that speed, memory and what fusing changes
        # can be measured: no place in it is known to be where an answer begins.
        start, has_answer = max(1, min(len(tokens), max_length) // 2), False
    else:
        tokens = _rendered(example, tokenizer, answer=True)
        prompt = _rendered(example, tokenizer, answer=False)
        start, has_answer = len(prompt), True
        if tokens[:start] != prompt or len(tokens) == start:
            raise UserError(
                f"{where}: the model's chat template writes the prompt otherwise when an answer "
                "follows, so the two cannot be told apart. Give whole texts instead: "
                '{"text": …} a line.'
            )
    bos = tokenizer.bos_token_id
    if bos is not None and tokens[:2] == [bos, bos]:
        raise UserError(
            f"{where}: two BOS tokens at the start: the text has one and the tokenizer adds "
            f"another. Take {tokenizer.bos_token!r} out of the data."
        )
    return TokenizedExample(example.id, example.table_id, tuple(tokens), start, has_answer)


def _rendered(example: TextExample, tokenizer: Any, answer: bool) -> list[int]:
    if not chat_template_of(tokenizer):
        raise UserError(
            "prompts with completions, and messages, go through the model's chat template, as in "
            "mlx-lm, and this model's tokenizer has none. Use an instruct model, or write whole "
            'texts: {"text": …} a line.'
        )
    messages = list(example.messages if answer else example.messages[:-1])
    tools = None if example.tools is None else list(example.tools)
    try:
        tokens: Sequence[int] = tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=not answer, return_dict=False
        )
    except REFUSALS as error:
        roles = ", ".join(str(message["role"]) for message in messages)
        raise UserError(
            f"row {example.table_id}: the model's chat template refuses a conversation of {roles}: "
            f"{refusal_of(error)}. Take out what it refuses (a system's text may stand before the "
            'user\'s), use another model, or give whole texts: {"text": …} a line.'
        ) from error
    return [int(token) for token in tokens]
