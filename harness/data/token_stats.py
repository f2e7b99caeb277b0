"""The check of a training set before training: token rows + dataset -> one sentence of facts.

`tokens.py` refuses rows that would train the wrong thing (a BOS twice, a prompt that is no token
prefix, a stop token inside the text). Here the other facts are counted that a user should know:
rows cut at the maximum length, rows that never stop, tables shared between splits, repeated
questions and those with conflicting gold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.data.leakage import leakage, repeats
from harness.data.records import Dataset
from harness.data.special_tokens import stop_tokens
from harness.data.tokens import Tokenized


@dataclass(frozen=True, slots=True)
class RowFacts:
    """Counts over the rows of one split."""

    rows: int
    shortest: int
    longest: int
    """Lengths in tokens, as trained on."""
    with_bos: int
    without_stop: int
    """Rows whose answer (or whole text) holds no stop token, among them rows that were cut."""
    several_stops: int
    """Rows whose answer (or whole text) holds more than one."""
    truncated: int
    marked: bool
    """Whether it is known where the answers begin."""

    def sentence(self, limit: int) -> str:
        """The facts in words; ``limit`` is the longest row allowed, in tokens."""
        bos = {0: "no BOS", self.rows: "one BOS each"}.get(
            self.with_bos, f"a BOS in {self.with_bos:,} of them"
        )
        stops = []
        if self.without_stop:
            stops.append(f"{self.without_stop:,} without a stop token")
        if self.several_stops:
            stops.append(f"{self.several_stops:,} with more than one")
        remedy = " (raise it with --set max_seq_length=N)" if self.truncated else ""
        facts = [
            bos,
            ", ".join(stops) or "one stop token each",
            "every prompt a token prefix" if self.marked else "answers not marked",
            f"{self.truncated:,} cut at {limit:,} tokens{remedy}",
        ]
        return f"{self.rows:,} rows of {self.shortest} to {self.longest} tokens: {', '.join(facts)}"


def row_facts(found: Tokenized, tokenizer: Any) -> RowFacts:
    """Counts over the rows of a split; there must be at least one row."""
    stops = stop_tokens(tokenizer)
    lengths = [len(row.tokens) for row in found.examples]
    answers = [
        row.tokens[row.prompt_length :] if row.has_answer else row.tokens for row in found.examples
    ]
    counts = [sum(token in stops for token in answer) for answer in answers]
    bos = tokenizer.bos_token_id
    return RowFacts(
        rows=len(lengths),
        shortest=min(lengths),
        longest=max(lengths),
        with_bos=0 if bos is None else sum(row.tokens[0] == bos for row in found.examples),
        without_stop=counts.count(0),
        several_stops=sum(count > 1 for count in counts),
        truncated=found.truncated,
        marked=all(row.has_answer for row in found.examples),
    )


def data_facts(dataset: Dataset) -> str:
    """What the splits share and what repeats in them, in words."""
    shared, repeated = leakage(dataset), repeats(dataset)
    tables = f"{shared.shared_tables:,} tables and " if dataset.has_tables else ""
    gold = "gold" if dataset.has_tables else "answer"
    return (
        f"{tables}{shared.shared_questions:,} questions shared between splits, "
        f"{repeated.equal:,} repeated, {repeated.conflicting:,} with conflicting {gold}"
    )
