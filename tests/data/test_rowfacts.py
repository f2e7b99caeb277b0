"""The preflight sentence: BOS, stop tokens, cut rows, repeats; counted on rows made by hand."""

from __future__ import annotations

from dataclasses import replace

from test_data_describe import DATASET
from test_data_tokens import TEMPLATE, Wrapper, byte_tokenizer

from harness.data.leakage import data_facts
from harness.data.prompts import style
from harness.data.records import TextExample
from harness.data.tokens import Tokenized, TokenizedExample, row_facts, tokenize

TOKENIZER = byte_tokenizer(bos=True)
BOS, EOS = TOKENIZER.bos_token_id, TOKENIZER.eos_token_id


def rows(*tokens: tuple[int, ...], prompt: int = 1, cut: int = 0) -> Tokenized:
    made = [TokenizedExample(at, "t", row, prompt) for at, row in enumerate(tokens)]
    return Tokenized(tuple(made), cut)


def test_the_tables_of_a_dataset_make_rows_as_they_should_be() -> None:
    found = tokenize(DATASET.train, DATASET.train.tables, style("sql"), TOKENIZER, 500)
    text = row_facts(found, TOKENIZER, 500)
    assert text.startswith("4 rows of ")
    assert text.endswith(
        "one BOS each, one stop token each, every prompt a token prefix, 0 cut at 500 tokens"
    )


def test_cut_rows_lose_their_stop_token_and_are_reported_with_the_remedy() -> None:
    text = row_facts(rows((BOS, 5, 6), (BOS, 5, EOS), cut=1), TOKENIZER, 3)
    assert text.startswith("2 rows of 3 to 3 tokens")
    assert "1 without a stop token" in text
    assert "1 cut at 3 tokens (raise it with --set max_seq_length=N)" in text


def test_a_bos_in_some_rows_only_is_counted() -> None:
    text = row_facts(rows((BOS, 5, EOS), (5, 6, EOS)), TOKENIZER, 9)
    assert "a BOS in 1 of them" in text
    none = row_facts(rows((5, 6, EOS)), TOKENIZER, 9)
    assert ": no BOS, one stop token each" in none


def test_a_conversation_s_earlier_stop_tokens_are_not_its_answer_s() -> None:
    inner = byte_tokenizer(bos=True, template=TEMPLATE)
    end = inner.convert_tokens_to_ids("<end>")
    tokenizer = Wrapper(inner, {inner.eos_token_id, end})
    asked = {"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}
    blank = DATASET.train.examples[0].gold
    example = TextExample(0, "train:0", "a", blank, messages=asked)
    (row,) = (found := tokenize([example], {}, style("dialect"), tokenizer, 99)).examples
    assert row.tokens.count(end) == 2
    assert "one stop token each, every prompt a token prefix" in row_facts(found, tokenizer, 99)


def test_whole_texts_are_said_to_mark_no_answer() -> None:
    found = rows((5, EOS, 6, EOS))
    whole = Tokenized(tuple(replace(row, has_answer=False) for row in found.examples), 0)
    text = row_facts(whole, TOKENIZER, 9)
    assert "1 with more than one, answers not marked" in text


def test_shared_tables_and_repeated_questions_are_counted() -> None:
    assert data_facts(DATASET) == (
        "1 tables and 1 questions shared between splits, 1 repeated, 1 with conflicting gold"
    )
