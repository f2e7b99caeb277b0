"""Token rows: prompt boundary, BOS, one stop token, truncation; on tokenizers made here."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from harness.data.prompts import style
from harness.data.records import Condition, Example, LogicalForm, Table
from harness.data.tokens import encode_prompt, render_text, tokenize
from harness.errors import UserError

TABLE = Table("1-1-1", ("Player", "No."), ("text", "real"), ())
TABLES = {"1-1-1": TABLE}
GOLD = LogicalForm(0, 0, (Condition(1, 0, 21),))
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def example(question: str, id: int = 0) -> Example:
    return Example(id, "1-1-1", question, GOLD)


def byte_tokenizer(
    bos: bool = False,
    eos: bool = False,
    merges: list[tuple[str, str]] | None = None,
    template: str | None = None,
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the 256 bytes, `merges`, and the special tokens <s>, </s>, <end>."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    for left, right in merges or []:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges or []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not merges)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>", "<end>"])
    single = ("<s> " if bos else "") + "$A" + (" </s>" if eos else "")
    if bos or eos:
        special = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=special
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=template
    )


class Wrapper:
    """As mlx-lm's TokenizerWrapper: forwards everything, and knows several stop tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stops: set[int]) -> None:
        self._inner = tokenizer
        self.eos_token_ids = stops
        self.has_chat_template = tokenizer.chat_template is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", [False, True])
@pytest.mark.parametrize("name", ["dialect", "sql"])
def test_row_is_prompt_then_answer_then_one_stop_token(bos: bool, eos: bool, name: str) -> None:
    tokenizer = byte_tokenizer(bos, eos)
    chosen = style(name)
    (row,) = tokenize([example("who is 21? ")], TABLES, chosen, tokenizer, 500).examples
    prompt, answer = row.tokens[: row.prompt_length], row.tokens[row.prompt_length : -1]
    expected = chosen.prompt("who is 21? ", TABLE)
    assert tokenizer.decode(prompt) == ("<s>" if bos else "") + expected
    assert tokenizer.decode(answer) == chosen.completion(GOLD, TABLE)
    assert row.tokens[-1] == tokenizer.eos_token_id
    assert row.tokens.count(tokenizer.eos_token_id) == 1
    assert row.tokens.count(tokenizer.bos_token_id) == int(bos)
    assert encode_prompt(tokenizer, chosen, "who is 21? ", TABLE) == list(prompt)


def test_the_rows_are_what_mlx_lm_makes_of_the_exported_text() -> None:
    """mlx-lm's TextDataset: encode the text, then append EOS unless it is there."""
    for bos in (False, True):
        tokenizer = byte_tokenizer(bos, template=TEMPLATE)
        for name in ("dialect", "sql", "chat"):
            (row,) = tokenize([example("q")], TABLES, style(name), tokenizer, 500).examples
            text = render_text(tokenizer, style(name), example("q"), TABLE)
            assert list(row.tokens) == [*tokenizer.encode(text), tokenizer.eos_token_id]


def test_chat_takes_the_template_and_the_stop_token_that_ends_a_turn() -> None:
    inner = byte_tokenizer(bos=True, template=TEMPLATE)
    end = inner.convert_tokens_to_ids("<end>")
    tokenizer = Wrapper(inner, {inner.eos_token_id, end})
    (row,) = tokenize([example("q")], TABLES, style("chat"), tokenizer, 500).examples
    message = style("chat").prompt("q", TABLE)
    query = 'SELECT "Player" FROM "1-1-1" WHERE "No." = 21'
    assert inner.decode(row.tokens) == f"<s><|user|>{message}<end>\n<|assistant|>{query}<end>"
    assert row.tokens[-1] == end
    assert inner.decode(row.tokens[row.prompt_length :]) == query + "<end>"


def test_chat_without_a_template_says_what_to_use() -> None:
    with pytest.raises(UserError, match="chat template, and this one has none"):
        tokenize([example("q")], TABLES, style("chat"), byte_tokenizer(), 500)


REFUSING = {
    "says why": (
        "{{ raise_exception('A system message is required.\\nSee the card') }}",
        "A system message is required",
    ),
    "lacks a variable": ("{{ nothing.upper() }}", "'nothing' is undefined"),
    "is no template": ("{% for m in messages %}{{ m.content }}", "Unexpected end of template"),
    "adds what cannot be added": ("{{ messages[0].content + 1 }}", "concatenate str"),
}


@pytest.mark.parametrize(("template", "message"), REFUSING.values(), ids=REFUSING)
def test_a_template_that_refuses_or_is_broken_is_quoted_on_one_line(
    template: str, message: str
) -> None:
    tokenizer = byte_tokenizer(template=template)
    attempts = (
        lambda: tokenize([example("q")], TABLES, style("chat"), tokenizer, 500),
        lambda: encode_prompt(tokenizer, style("chat"), "q", TABLE),
    )
    for attempt in attempts:
        with pytest.raises(UserError) as caught:
            attempt()
        text = str(caught.value)
        assert text.startswith("prompt style 'chat': the model's chat template refuses")
        assert message in text
        assert "--prompt-style=dialect" in text
        assert "\n" not in text


def test_a_long_text_is_cut_and_counted_but_keeps_an_answer_token() -> None:
    tokenizer = byte_tokenizer()
    (full,) = tokenize([example("q")], TABLES, style("dialect"), tokenizer, 500).examples
    limit = full.prompt_length + 1
    cut = tokenize([example("q"), example("", 1)], TABLES, style("dialect"), tokenizer, limit)
    assert cut.truncated == 2
    assert cut.examples[0].tokens == full.tokens[:limit]
    assert all(row.prompt_length < len(row.tokens) <= limit for row in cut.examples)
    exact = tokenize([example("q")], TABLES, style("dialect"), tokenizer, len(full.tokens))
    assert exact.truncated == 0


def test_a_prompt_longer_than_the_context_is_named_with_what_to_set() -> None:
    rows = [example("q"), example("long " * 40, 7), example("long " * 50, 9)]
    with pytest.raises(UserError) as caught:
        tokenize(rows, TABLES, style("dialect"), byte_tokenizer(), 120)
    text = str(caught.value)
    assert "2 prompts leave no token for an answer within 120 tokens" in text
    assert "the first is example 7 (table 1-1-1" in text
    assert "--set max_seq_length=" in text


def test_a_tokenizer_that_merges_across_the_boundary_is_refused() -> None:
    tokenizer = byte_tokenizer(merges=[(":", "Ġ")])
    with pytest.raises(UserError, match=r"example 3 .*merges across the end of the prompt"):
        tokenize([example("q", 3)], TABLES, style("dialect"), tokenizer, 500)


def test_a_stop_token_inside_the_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"example 5 .*contains a stop token"):
        tokenize([example("what </s> is", 5)], TABLES, style("dialect"), byte_tokenizer(), 500)


def test_a_bos_inside_the_text_is_refused_where_the_tokenizer_adds_one() -> None:
    asked = [example("what <s> is", 5)]
    with pytest.raises(UserError, match=r"example 5 .*contains '<s>'"):
        tokenize(asked, TABLES, style("dialect"), byte_tokenizer(bos=True), 500)
    assert tokenize(asked, TABLES, style("dialect"), byte_tokenizer(), 500).truncated == 0


def test_one_token_may_begin_and_end_a_text() -> None:
    tokenizer = byte_tokenizer(bos=True)
    tokenizer.eos_token = "<s>"
    (row,) = tokenize([example("q")], TABLES, style("dialect"), tokenizer, 500).examples
    both = tokenizer.bos_token_id
    assert [at for at, token in enumerate(row.tokens) if token == both] == [0, len(row.tokens) - 1]


def test_a_tokenizer_without_eos_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-text token"):
        tokenize([example("q")], TABLES, style("dialect"), tokenizer, 500)


def test_no_examples_give_no_rows() -> None:
    assert tokenize([], TABLES, style("dialect"), byte_tokenizer(), 10).examples == ()


TOKENIZER = byte_tokenizer(bos=True)


@given(st.text().filter(lambda text: "<" not in text), st.text().filter(lambda t: "<" not in t))
def test_any_question_and_value_keep_the_boundary(question: str, value: str) -> None:
    gold = LogicalForm(0, 0, (Condition(0, 0, value),))
    rows = tokenize(
        [Example(0, "1-1-1", question, gold)], TABLES, style("dialect"), TOKENIZER, 9999
    )
    (row,) = rows.examples
    assert TOKENIZER.decode(row.tokens[1 : row.prompt_length]).endswith("\nA:")
    assert TOKENIZER.decode(row.tokens[row.prompt_length : -1]).startswith(" SELECT Player")
