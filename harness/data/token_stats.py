"""The check of a training set before training: token rows + dataset -> one sentence of facts.

`tokens.py` refuses rows that would train the wrong thing (a BOS twice, a prompt that is no token
prefix, a stop token inside the text). Here the other facts are counted that a user should know:
rows cut at the maximum length, rows that never stop, tables shared between splits, repeated
questions and those with conflicting gold.
"""

from __future__ import annotations

from typing import Any

from harness.data.leakage import leakage, repeats
from harness.data.records import Dataset
from harness.data.special_tokens import stop_tokens
from harness.data.tokens import Tokenized


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


def data_facts(dataset: Dataset) -> str:
    """What the splits share and what repeats in them, in words."""
    shared, repeated = leakage(dataset), repeats(dataset)
    tables = f"{shared.shared_tables:,} tables and " if dataset.has_tables else ""
    gold = "gold" if dataset.has_tables else "answer"
    return (
        f"{tables}{shared.shared_questions:,} questions shared between splits, "
        f"{repeated.equal:,} repeated, {repeated.conflicting:,} with conflicting {gold}"
    )
