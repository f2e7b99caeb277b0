"""A draft, or the first piece of a query, is never graded in place of the answer."""

from __future__ import annotations

import json

import pytest

from harness.data.records import Table
from harness.measure.answer_end import closes_query
from harness.sql.failures import Failure
from harness.sql.query import Query
from harness.sql.read.reader import Reader

TABLE = Table("1-1001-11", ("Player", "Team", "Pts"), ("text", "text", "real"), ())
W = 'SELECT Team FROM "1-1001-11"'
FIRST = "SELECT Player FROM table"
WHERE = "WHERE Pts > 3"
R = f"{FIRST} {WHERE}"


def read(text: str) -> Query | Failure:
    return Reader().read(text, TABLE)


DRAFTS = {
    "tags": [
        "&lt;think&gt;{W}&lt;/think&gt;{R}",
        "< think >{W}</ think >{R}",
        "<_think>{W}</_think>{R}",
        "[THINK1]{W}[/THINK1]{R}",
        "[chain-of-thought]{W}[/chain-of-thought]{R}",
        "‹思考>{W};\n‹/思考>{R}",
        "【思考】{W}【/思考】{R}",
        "<unused94>thought\n{W};\n<unused95>{R}",
        f"<{'x' * 60}think>{{W}}</{'x' * 60}think>{{R}}",
        "[REASONING]\n{W}\n[ANSWER]\n{R}",
        "<|think|>{W}<|answer|>{R}",
        "<think/>{R}",
        "<query>{W}</query><refined_query>{R}</refined_query>",
        "<answer>{W}</answer>\nWait, that is wrong.\n<answer>{R}</answer>",
        "<initial_sql>{W}</initial_sql><sql>{R}</sql>",
    ],
    "fences": [
        *(f"```{name}\n{{W}};\n```\n```sql\n{{R}}\n```" for name in ("reasoning", "draft", "cot")),
        "~~~sql\n{R}\n~~~\n{W}",
    ],
    "comments": [
        *(f"{sign} {{W}}\n{{R}}" for sign in ("#", "//", "--", "❌", ">")),
        "Here it is:\n/* {W} */\n{R}",
        "/* a */\n/* {W}; */\n{R}",
        "```python\n# {W}\nq = '{R}'\n```",
        "~~{W}~~\n\n{R}",
    ],
    "labels": [
        "### Reasoning\n{W};\n\n### Answer\n{R}",
        "**Thinking:** {W}\n\n**Answer:** {R}",
        "Draft: {W};\nAnswer: {R}",
        "reasoning: {W}\nsql: {R}",
        "=== REASONING ===\n{W}\n=== ANSWER ===\n{R}",
        "Here is my thought process:\n{W}\nHere is my response:\n{R}",
        "Final answer: {W}\nCorrected answer: {R}",
        "{W}\nThat is wrong. Correction: {R}",
        "{{'thought': '{W}', 'sql': '{R}'}}",
    ],
}


@pytest.mark.parametrize("kind", DRAFTS)
def test_a_draft_is_not_the_answer(kind: str) -> None:
    for shape in DRAFTS[kind]:
        text = shape.format(W=W, R=R)
        assert read(text) == read(R), text


@pytest.mark.parametrize(
    "value",
    [
        *({first: W, second: R} for first, second in [
            ("initial_sql", "final_sql"), ("candidate_query", "final_query"), ("sql", "answer"),
            ("query", "corrected_query"), ("previous_sql", "sql"), ("question", "generated"),
        ]),
        [{"type": "reasoning", "content": W}, {"type": "text", "content": R}],
        [{"summary": [{"type": "summary_text", "text": W}]}, {"type": "output_text", "text": R}],
        [{"role": "user", "content": W}, {"role": "assistant", "content": R}],
    ],
)  # fmt: skip
def test_a_draft_of_data_is_not_the_answer(value: object) -> None:
    assert read("{a} " * 9 + json.dumps(value)) == read(R)


def test_a_draft_in_a_value_of_its_own_is_not_the_answer() -> None:
    draft, answer = json.dumps({"draft": W}), json.dumps({"sql": R})
    for text in (f"{draft}\n{answer}", f"```json\n{draft}\n```\n```json\n{answer}\n```"):
        assert read(text) == read(R)


def test_a_draft_is_read_where_nothing_else_is_offered() -> None:
    for text in (f"Reasoning: {R}", json.dumps({"candidate_sql": R}), f"# {R}", f"> {R}"):
        assert read(text) == read(R)
    for text in (f"Draft: {W}\nFinal answer: unknown", json.dumps({"question": W, "answer": "?"})):
        assert isinstance(read(text), Failure)


@pytest.mark.parametrize(
    "text",
    [
        f'q = "{FIRST}" + " {WHERE}"',
        f'(\n "{FIRST}"\n " {WHERE}"\n)',
        f'q = "{FIRST}"\nq += " {WHERE}"',
        f"parts.append('{FIRST} ')\nparts.append('{WHERE}')",
        f"' '.join(['SELECT Player', 'FROM table', '{WHERE}'])",
        f'$q = "{FIRST} " . "{WHERE}";',
        f'q = "{FIRST} " & _\n "{WHERE}"',
        f"{FIRST} \\\n{WHERE}",
        json.dumps([FIRST, WHERE]),
        json.dumps({"sql": ["SELECT Player", "FROM table", WHERE]}),
        json.dumps({"select": FIRST, "where": WHERE}),
        f"`{FIRST}` {WHERE}",
        f"```sql\n{FIRST}\n```\n{WHERE}",
        f"<sql>{FIRST}</sql> {WHERE}",
    ],
)
def test_pieces_are_joined(text: str) -> None:
    assert read(text) == read(R)


@pytest.mark.parametrize(
    "text",
    [
        f'q = "{FIRST}" + condition',
        f'q = "{FIRST} %s" % x',
        f'a = "{FIRST}"\nb = "{WHERE}"\nq = a + b',
        json.dumps({"sql": FIRST, "limit": 1}),
        f"```sql\n{FIRST}\n```\nThen:\n```sql\n{WHERE}\n```",
        f"<s>{FIRST}</s> {R}",
    ],
)
def test_the_first_of_unjoined_pieces_is_no_answer(text: str) -> None:
    result = read(text)
    assert isinstance(result, Failure)
    assert result.kind == "unsupported"


def test_generation_goes_on_after_a_fence_without_the_answer() -> None:
    for first in (f"```reasoning\n{W}\n```", f"```python\n# {W}\n```", f"Draft:\n\n```\n{W}\n```"):
        assert not closes_query(f"{first}\n")
        assert closes_query(f"{first}\n\nAnswer:\n```sql\n{R}\n```")
    assert closes_query(f"~~~sql\n{R}\n~~~")
