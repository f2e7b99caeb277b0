"""Data in mlx-lm's own formats: reading, rows equal to mlx-lm's own, damage, describing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_data_describe import cells
from test_data_tokens import TEMPLATE, Wrapper, byte_tokenizer

from harness.data.describe import describe_texts, render_texts
from harness.data.export import export
from harness.data.leakage import leakage, repeats
from harness.data.prompts import style
from harness.data.records import Dataset, TextExample
from harness.data.sources.resolve import resolve_dataset
from harness.data.tokens import tokenize
from harness.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "wikisql" / "mlx-text"

ROWS: dict[str, list[dict[str, Any]]] = {
    "text": [{"text": "Q: a?\nA: x"}, {"text": "Q: b?\nA: yy</s>"}],
    "completions": [
        {"prompt": "a?", "completion": "x"},
        {"prompt": "b?", "completion": "yy", "tools": [{"name": "t"}]},
    ],
    "chat": [
        {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "x"}]},
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "a?"},
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": "more?"},
                {"role": "assistant", "content": "yy"},
            ]
        },
    ],
}


def write(folder: Path, train: list[Any], valid: list[Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("train", train), ("valid", valid or train), ("test", train)):
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def read(folder: Path, rows: list[Any]) -> Dataset:
    return resolve_dataset(str(write(folder, rows)))


@pytest.mark.parametrize("form", list(ROWS))
def test_the_first_line_says_which_format_it_is(form: str, tmp_path: Path) -> None:
    dataset = read(tmp_path, ROWS[form])
    assert dataset.form == form
    assert not dataset.has_tables
    assert dataset.has_answers == (form != "text")
    assert [e.id for e in dataset.test.examples] == [0, 1]
    assert dataset.test.examples[1].table_id == "test:1"


@pytest.mark.parametrize("form", list(ROWS))
@pytest.mark.parametrize("bos", [False, True])
def test_rows_are_the_tokens_that_mlx_lm_trains_on(form: str, bos: bool, tmp_path: Path) -> None:
    """Tokens and mask offset against ``mlx_lm.tuner.datasets`` itself."""
    import harness.backend  # noqa: F401, I001  (the BLAS before mlx)
    from mlx_lm.tuner.datasets import ChatDataset, CompletionsDataset, TextDataset

    tokenizer = byte_tokenizer(bos=bos, template=TEMPLATE)
    wrapped = Wrapper(tokenizer, {tokenizer.eos_token_id})
    theirs: Any = {
        "text": lambda rows: TextDataset(rows, tokenizer),
        "completions": lambda rows: CompletionsDataset(
            rows, tokenizer, "prompt", "completion", True
        ),
        "chat": lambda rows: ChatDataset(rows, tokenizer, mask_prompt=True),
    }[form](ROWS[form])
    dataset = read(tmp_path, ROWS[form])
    ours = tokenize(dataset.test, {}, style("dialect"), wrapped, 500)
    assert ours.truncated == 0
    for row, given in zip(ours.examples, ROWS[form], strict=True):
        tokens, offset = theirs.process(given)
        assert list(row.tokens) == tokens
        assert row.has_answer == (form != "text")
        if row.has_answer:
            assert row.prompt_length == offset


def test_a_whole_text_is_continued_from_its_middle_and_marks_no_answer(tmp_path: Path) -> None:
    dataset = read(tmp_path, [{"text": "abcdefghi"}])
    (row,) = tokenize(dataset.test, {}, style("dialect"), byte_tokenizer(), 500).examples
    assert (len(row.tokens), row.prompt_length, row.has_answer) == (10, 5, False)
    cut = tokenize(dataset.test, {}, style("dialect"), byte_tokenizer(), 4)
    assert cut.truncated == 1
    assert (len(cut.examples[0].tokens), cut.examples[0].prompt_length) == (4, 2)


def test_a_text_that_writes_the_bos_itself_is_refused_where_the_tokenizer_adds_one(
    tmp_path: Path,
) -> None:
    dataset = read(tmp_path, [{"text": "fine"}, {"text": "<s>twice"}])
    with pytest.raises(UserError, match="row test:1: two BOS tokens"):
        tokenize(dataset.test, {}, style("dialect"), byte_tokenizer(bos=True), 500)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "this model's tokenizer has none"),
        ("{% if add_generation_prompt %}other{% else %}text{% endif %}", "cannot be separated"),
        ("{{ raise_exception('roles must alternate') }}", "user, assistant: roles must alternate"),
    ],
)
def test_a_template_that_cannot_serve_is_refused(
    template: str | None, message: str, tmp_path: Path
) -> None:
    dataset = read(tmp_path, ROWS["completions"])
    with pytest.raises(UserError, match=message):
        tokenize(dataset.test, {}, style("dialect"), byte_tokenizer(template=template), 500)


def test_all_damaged_lines_are_reported_at_once(tmp_path: Path) -> None:
    good = ROWS["chat"][0]
    rows = [
        good,
        {"text": "another format"},
        "{",
        {"messages": [{"role": "user", "content": "alone"}]},
        {"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]},
        {"messages": [7, {"role": "assistant", "content": "x"}]},
        {**good, "tools": "none"},
    ]
    with pytest.raises(UserError) as caught:
        read(tmp_path, rows)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert lines[0].endswith(
        "train.jsonl:2: no messages, which the first line of train.jsonl has (keys present: text)"
    )
    assert "train.jsonl:3: not JSON" in lines[1]
    assert "two or more" in lines[2]
    assert "the last message must be the assistant's, got role 'user'" in lines[3]
    assert "message 0 must be an object with a role, got the number 7" in lines[4]
    assert "tools must be a list" in lines[5]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"text": ""}, "text is empty"),
        ({"prompt": 3, "completion": "x"}, "prompt must be text"),
        (
            {
                "messages": [
                    {"role": "user", "content": "Count."},
                    {"role": "assistant", "content": [{"type": "text", "text": "SELECT 1"}]},
                ]
            },
            "the content of the last message must be text, got a list",
        ),
    ],
)
def test_a_field_of_another_kind_is_named(row: dict[str, Any], error: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"train.jsonl:1: {error}"):
        read(tmp_path, [row])


def test_a_missing_split_and_an_empty_one_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, ROWS["text"])
    (folder / "test.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"test.jsonl is empty: it needs at least one line"):
        resolve_dataset(str(folder))
    (folder / "test.jsonl").unlink()
    with pytest.raises(UserError, match=r"present: train, valid\. .* copy it as test.jsonl"):
        resolve_dataset(str(folder))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"instruction": "a", "input": "", "output": "b"}\n',
            ["instruction, input, output", "prompt"],
        ),
        (
            '{"conversations": [{"from": "human"}]}\n',
            ["keys of its first line are conversations", "role"],
        ),
        ('[{"prompt": "a"},\n {"prompt": "b"}]\n', ["is one JSON array", "jq -c"]),
        ('{"question": "a", "answer": "b"}\n', ["question, answer", "messages"]),
    ],
    ids=["alpaca", "sharegpt", "array", "other"],
)
def test_data_of_another_format_is_told_its_keys_and_what_is_read(
    text: str, said: list[str], tmp_path: Path
) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.jsonl").write_text(text)
    with pytest.raises(UserError) as caught:
        resolve_dataset(str(tmp_path))
    for part in (*said, "train.jsonl", "with prompt and completion, with messages, with text"):
        assert part in str(caught.value)


def test_questions_without_their_tables_are_not_taken_for_texts(tmp_path: Path) -> None:
    rows = [{"phase": 1, "table_id": "1-1-1", "question": "q", "sql": {}}]
    with pytest.raises(UserError, match=r"train.tables.jsonl is missing"):
        read(tmp_path, rows)


def test_every_byte_of_every_split_is_in_the_hash(tmp_path: Path) -> None:
    before = read(tmp_path, ROWS["text"]).sha256
    (tmp_path / "valid.jsonl").write_text('{"text": "other"}\n')
    assert resolve_dataset(str(tmp_path)).sha256 != before


def test_repeats_conflicts_and_leakage_are_counted(tmp_path: Path) -> None:
    rows = [("a?", "x"), ("A", "x"), ("a?", "y"), ("b?", "x")]
    train = [{"prompt": prompt, "completion": answer} for prompt, answer in rows]
    folder = write(tmp_path, train, [{"prompt": "c", "completion": "x"}])
    dataset = resolve_dataset(str(folder))
    found = repeats(dataset)
    assert (found.equal, found.conflicting) == (2, 2)  # train and test are the same file here
    assert leakage(dataset).shared_questions == 2
    description = describe_texts(dataset)
    assert [split.examples for split in description.splits] == [4, 1, 4]
    assert (description.splits[0].duplicates, description.splits[0].conflicts) == (1, 1)
    text = render_texts(description)
    assert "Prompts with completions in mlx-lm's format, without tables" in text
    assert ["conflicting answers", "1", "0", "1"] in cells(text)


def test_equal_texts_are_repeats_but_never_conflicts(tmp_path: Path) -> None:
    dataset = read(tmp_path, [{"text": "one"}, {"text": "one"}, {"text": "two"}])
    assert (repeats(dataset).equal, repeats(dataset).conflicting) == (3, 0)  # one a split


def test_export_says_that_the_data_is_in_the_format_already(tmp_path: Path) -> None:
    dataset = read(tmp_path, ROWS["text"])
    with pytest.raises(UserError, match="in mlx-lm's own format already"):
        export(dataset, style("dialect"), tmp_path / "out")


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/wikisql/mlx-text is not here")
def test_the_article_s_training_data_is_read() -> None:
    dataset = resolve_dataset(str(SHARED))
    assert dataset.form == "text"
    counts = [len(s.examples) for s in dataset.splits]
    assert counts == [1000, 100, 100]
    first = dataset.test.examples[0]
    assert isinstance(first, TextExample)
    assert first.text is not None
    assert first.text.startswith("table: 1-10015132-16\n")


def test_a_template_that_takes_no_system_turn_says_so_of_the_row(tmp_path: Path) -> None:
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    )
    tokenizer = byte_tokenizer(template=refusing + "{% endif %}" + TEMPLATE)
    dataset = read(tmp_path, ROWS["chat"])
    with pytest.raises(UserError) as caught:
        tokenize(dataset.train, {}, style("dialect"), tokenizer, 500)
    text = str(caught.value)
    assert "row train:1: the model's chat template refuses a conversation of system, user" in text
    assert "System role not supported" in text
    assert "a system's text may stand before the user's" in text
    assert "\n" not in text
