"""The embedded corpus: same bytes again, as WikiSQL in kind, nothing shared, gold that answers."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from test_data_describe import right

from fixtures.generate import frames
from fixtures.generate.corpus import SIZES, TOPICS, UNSEEN, write
from fixtures.generate.intents import is_degenerate, matching_rows
from fixtures.generate.rng import Rng
from fixtures.generate.surface import fill, mark, spoken_value, untidy
from harness.data.describe import PUBLISHED_TEST, describe
from harness.data.records import Condition, Dataset, Example, LogicalForm, Split, Table
from harness.data.sources.resolve import MINI_FOLDER, resolve_dataset

SHARED = Path(__file__).parents[3] / "shared" / "wikisql"


@pytest.fixture(scope="module")
def mini() -> Dataset:
    return resolve_dataset("mini")


def splits(mini: Dataset) -> tuple[Split, Split, Split]:
    return mini.train, mini.valid, mini.test


def every_example(mini: Dataset) -> list[tuple[Example, Table]]:
    return [(e, s.tables[e.table_id]) for s in splits(mini) for e in s.examples]


def test_the_generator_writes_the_committed_bytes(tmp_path: Path) -> None:
    for path in write(tmp_path):
        assert path.read_bytes() == (MINI_FOLDER / path.name).read_bytes(), path.name
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in MINI_FOLDER.glob("*.jsonl")}


def test_another_seed_gives_another_corpus(tmp_path: Path) -> None:
    write(tmp_path, seed="other")
    assert (tmp_path / "train.jsonl").read_bytes() != (MINI_FOLDER / "train.jsonl").read_bytes()


def test_sizes_are_those_of_the_design(mini: Dataset) -> None:
    found = {s.name: (len(s.examples), len(s.tables)) for s in splits(mini)}
    assert found == SIZES == {"train": (1000, 250), "valid": (60, 20), "test": (200, 60)}
    assert sum(p.stat().st_size for p in MINI_FOLDER.iterdir()) < 1_500_000


def test_splits_share_no_table_and_no_question(mini: Dataset) -> None:
    shared = describe(mini, right(mini)).leakage
    assert (shared.shared_tables, shared.shared_questions) == (0, 0)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_queries_have_the_mix_of_the_official_test_split(mini: Dataset, index: int) -> None:
    found = describe(mini, right(mini)).splits[index]
    for field in ("aggregates", "operators", "conditions"):
        counts, published = getattr(found, field), getattr(PUBLISHED_TEST, field)
        for count, wanted in zip(counts, published, strict=True):
            # Apportioned: off by rounding only (one example, two where conditions shift).
            assert abs(count - wanted * sum(counts) / sum(published)) <= 2, (field, count)


def test_subjects_are_many_and_some_appear_in_the_test_split_only() -> None:
    names = [topic.name for topic in TOPICS]
    assert len(names) == len(set(names)) >= 30
    assert set(UNSEEN) < set(names)


def test_headers_are_as_wikipedia_has_them(mini: Dataset) -> None:
    headers = {h for s in splits(mini) for t in s.tables.values() for h in t.header}
    assert {"School/Club Team", "No.", "U.S. viewers (million)", "Date of appointment"} <= headers
    assert any(not header.isascii() for header in headers)
    assert len(headers) > 500


def test_both_types_and_numbers_kept_as_text_occur(mini: Dataset) -> None:
    for split in splits(mini):
        tables = split.tables.values()
        cells = [(k, c) for t in tables for r in t.rows for k, c in zip(t.types, r, strict=True)]
        assert all(isinstance(c, str | None) for kind, c in cells if kind == "text")
        assert all(isinstance(c, int | float | None) for kind, c in cells if kind == "real")
        assert any(kind == "text" and c is not None and c.isdigit() for kind, c in cells)
        assert all(8 <= len(t.rows) <= 20 and len(t.header) >= 4 for t in tables)


def test_values_can_be_found_in_their_question_and_a_third_differ_in_case(mini: Dataset) -> None:
    for example, _ in every_example(mini):
        for cond in example.gold.conds:
            assert str(cond.value).lower() in example.question.lower()
    assert 0.25 < describe(mini, right(mini)).splits[0].other_case < 0.36


def test_apostrophes_occur_in_values(mini: Dataset) -> None:
    golds = [example.gold for example, _ in every_example(mini)]
    assert sum("'" in str(c.value) for gold in golds for c in gold.conds) >= 20


def test_few_gold_results_are_degenerate_but_some_are(mini: Dataset) -> None:
    for split in splits(mini):
        bad = sum(is_degenerate(split.tables[e.table_id], e.gold) for e in split.examples)
        assert 0 < bad / len(split.examples) < 0.08


def test_a_wrong_condition_usually_shows_in_the_result(mini: Dataset) -> None:
    """Another row's value in the first condition selects other rows in nearly every example."""
    changed = total = 0
    for example, table in every_example(mini):
        if not example.gold.conds:
            continue
        first = example.gold.conds[0]
        others = [r[first.column] for r in table.rows if r[first.column] not in (first.value, None)]
        if not others:
            continue
        wrong = (Condition(first.column, 0, others[0] or ""), *example.gold.conds[1:])
        rows, seen = matching_rows(table, wrong), matching_rows(table, example.gold.conds)
        total += 1
        changed += [r[example.gold.sel] for r in rows] != [r[example.gold.sel] for r in seen]
    assert changed / total > 0.9


def test_every_intent_has_five_phrasings_or_more() -> None:
    """Different ones: a frame that stands twice is only twice as likely."""

    def different(*collections: Iterable[object]) -> int:
        return len({frame for frames_ in collections for frame in frames_})

    asked = (frames.LITERAL, frames.MIXED, frames.MIXED_BARE, frames.AGG_ALL, frames.ALL_ROWS)
    counted = (frames.COUNT_LITERAL, frames.COUNT_MIXED, frames.COUNT_ROWS, frames.COUNT_ALL)
    assert min(map(different, (*asked, *counted))) >= 5
    assert different(frames.HAS, frames.IS, frames.AFTER_PLAIN) >= 15  # a condition of equality
    compared = different(frames.HAS_COMPARED, frames.IS_COMPARED, frames.AFTER_COMPARED)
    assert compared >= 12
    assert min(different(w) for by in frames.THAN.values() for w in by.values()) >= 5
    # An extreme or a total is a word of its own in any of the frames that ask for something.
    superlatives = [w for by in frames.SUPERLATIVES.values() for w in by.values()]
    assert min(map(different, (*superlatives, *frames.TOTALS.values()))) >= 4


def test_questions_vary_as_crowd_workers_do(mini: Dataset) -> None:
    questions = [example.question for example, _ in every_example(mini)]
    first = Counter(q.split()[0].lower() for q in questions)
    assert 0.4 < first["what"] / len(questions) < 0.6
    assert all(first[word] > 10 for word in ("which", "how", "name", "who", "when", "what's"))
    said = [t.header[e.gold.sel].lower() in e.question.lower() for e, t in every_example(mini)]
    assert 0.7 < sum(said) / len(said) < 0.9
    assert any("  " in q for q in questions)
    assert any("\u00a0" in q for q in questions)


def test_the_untidiness_of_a_sentence_never_touches_a_value() -> None:
    for seed in range(300):
        rng = Rng(str(seed))
        value, gold = spoken_value(rng, "Zoë O'Hara")
        text = fill(untidy(rng, f"What is the number of laps when driver is {mark(0)}?"), [value])
        assert value in text
        assert str(gold).lower() in text.lower()


def test_degenerate_means_no_row_or_only_null() -> None:
    table = Table("t", ("a", "b"), ("text", "real"), (("X", 1), ("y", None)))
    assert not is_degenerate(table, LogicalForm(1, 0, (Condition(0, 0, "x"),)))
    assert is_degenerate(table, LogicalForm(1, 0, (Condition(0, 0, "Y"),)))
    assert is_degenerate(table, LogicalForm(0, 0, (Condition(1, 1, 1),)))


@pytest.mark.skipif(not SHARED.exists(), reason="shared WikiSQL data is not in this checkout")
def test_nothing_is_copied_from_wikisql(mini: Dataset) -> None:
    headers: set[tuple[str, ...]] = set()
    ids: set[str] = set()
    questions: set[str] = set()
    for folder, split in (("dev", "dev"), ("small", "train"), ("small", "test")):
        for line in (SHARED / folder / f"{split}.tables.jsonl").read_text("utf-8").splitlines():
            table = json.loads(line)
            headers.add(tuple(h.lower() for h in table["header"]))
            ids.add(table["id"])
        for line in (SHARED / folder / f"{split}.jsonl").read_text("utf-8").splitlines():
            questions.add(json.loads(line)["question"].lower())
    for line in (SHARED / "mlx-text" / "train.jsonl").read_text("utf-8").splitlines():
        table_line, column_line, question, _ = json.loads(line)["text"].split("\n")
        ids.add(table_line.removeprefix("table: "))
        headers.add(tuple(column_line.removeprefix("columns: ").lower().split(", ")))
        questions.add(question.removeprefix("Q: ").lower())
    for split in splits(mini):
        assert not ids & set(split.tables)
        assert not headers & {tuple(h.lower() for h in t.header) for t in split.tables.values()}
        assert not questions & {example.question.lower() for example in split.examples}
