"""Finding the answer: whatever stands around a query, the query is read, and never a draft."""

from __future__ import annotations

import json

import pytest

from harness.data.answer_marks import pieces
from harness.data.records import Condition, Example, LogicalForm, Table
from harness.schema.rows import PredictionRow
from harness.sql.failures import Failure
from harness.sql.grade.predictions import Prediction
from harness.sql.grade.score import score
from harness.sql.query import And, Comparison, Item, Query
from harness.sql.read.answer import WRAPPERS, blocks
from harness.sql.read.reader import Reader

TABLE = Table("1-1001-11", ("Player", "No.", "Pts"), ("text", "text", "real"), ())
SQL = 'SELECT Player FROM "1-1001-11" WHERE Pts > 3 AND "No." = \'x\''
DIALECT = "SELECT Player FROM 1-1001-11 WHERE Pts > 3 AND No. = 'x'"
DRAFT = 'SELECT Pts FROM "1-1001-11" WHERE Pts > 1'
RIGHT = Query(
    (Item(0),),
    And((Comparison(2, ">", "3"), Comparison(1, "=", "x"))),
)


def read(text: str) -> tuple[Query | Failure, str | None]:
    reading = Reader().reading(text, TABLE)
    return reading.result, reading.read_as


REASONING = [
    "<think>{}</think>",
    "<think>\n{}\n",  # closed below
    "<thinking>\n{}\n</thinking>\n",
    "<Thought>{}</Thought>",
    "<reasoning>{};</reasoning>",
    "<reasoning_process>\n{}\n</reasoning_process>",
    "<scratchpad>{}</scratchpad>\n",
    "<inner_monologue>{}</inner_monologue>",
    "<antThinking>{}</antThinking>",
    "<seed:think>{}</seed:think>",
    "<analysis>Let us see.\n{}</analysis>",
    "<chain_of_thought>{}</chain_of_thought>",
    "<reflection>{}</reflection>",
    "<plan>\n1. {}\n</plan>\n",
    "<query_plan>{}</query_plan>\n",
    "<draft>{}</draft>",
    "<intermediate>{}</intermediate>\n",
    "<work>{}</work>\n",
    "<foo>{};</foo>\n",
    "[THINK]{}[/THINK]",
    "[REASONING]\n{}\n[/REASONING]\n",
    "<|begin_of_thought|>{}<|end_of_thought|>",
    "<|START_THINKING|>{}<|END_THINKING|>",
    "<|think|>{}<|/think|>",
    "<|thinking_start|>{}<|thinking_end|>",
    "<|inner_prefix|>{}<|inner_suffix|>",
    "◁think▷{}◁/think▷",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel>thought\n{}\n<channel|>",
    "analysisWe need {}.assistantfinal",
    "{} is not it.</think>\n",
    "<!-- {} -->\n",
    "<details><summary>Reasoning</summary>{}</details>\n",
    "<think>{}</think><think>{}</think>",
    "<think>We <think> about {}</think>",
]
ANSWERS = [
    ("{}", None),
    ("{};", None),
    ("<answer>{}</answer>", "tag"),
    ("<answer>\n{};\n</answer>", "tag"),
    ("<sql>{}</sql>", "tag"),
    ("<SQL>\n{}\n</SQL>", "tag"),
    ("<final_answer>{}</final_answer>", "tag"),
    ("<final-sql>{}</final-sql>", "tag"),
    ("<query>{}</query> It lists them.", "tag"),
    ("<foo>{}</foo>", "tag"),
    ("<output><sql>{}</sql></output>", "tag"),
    ('<answer lang="sql">{}</answer>', "tag"),
    ("[SQL]{}[/SQL]", "tag"),
    ("[ANSWER]\n{}\n[/ANSWER]", "tag"),
    ("<|begin_of_solution|>{}<|end_of_solution|>", "tag"),
    ("<|START_RESPONSE|>{}<|END_RESPONSE|>", "tag"),
    ("<|begin_of_box|>{}<|end_of_box|>", "tag"),
    ("<function=run><parameter=query>\n{}\n</parameter></function>", "tag"),
    ('<invoke name="run"><parameter name="sql">{}</parameter></invoke>', "tag"),
    ("<answer>```sql\n{}\n```</answer>", "fence in tag"),
    ("```sql\n{}\n```", "fence"),
    ("```\n{};\n```\nIt lists them.", "fence"),
    ("```sql {} ```", "fence"),
    ("```SQL\n{}", "fence"),
    ("**{}**", None),
    ("`{}`", "string"),
    ("Answer: {}", None),
    ("**Final answer:** {}", "tag"),
    ("### Final SQL Query:\n{}\n", "tag"),
    ("{}</s>", None),
    ("{}<|im_end|>\n<|im_start|>user\nNext?", None),
    ("{}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nSELECT x FROM y", None),
    ("{}<end_of_turn>", None),
    ("{}</sql>", None),
    ("({})", None),
    ("(({}));", None),
    ("\\boxed{{{}}}", None),
    ("run_sql({})", None),
    ("query(sql={})", None),
]
PYTHON = [
    'pd.read_sql("{}", conn)',
    'df = pd.read_sql_query("{}", con=conn)',
    'print(duckdb.sql("{}").df())',
    "cursor.execute('{}')",
    'cursor.execute("""\n{}\n""")',
    "spark.sql('''{}''')",
    'query = "{}"',
    "sql = '{}';",
    '"{}"',
    '{{"sql": "{}"',
    "{{'sql': '{}', 'why': 'as asked'}}",
    'The query is "{}".',
]


@pytest.mark.parametrize("reasoning", REASONING)
@pytest.mark.parametrize("query", [SQL, DIALECT])
def test_a_draft_in_reasoning_is_not_the_answer(reasoning: str, query: str) -> None:
    before = reasoning.replace("{}", DRAFT)
    if before.startswith("<think>\n"):
        before += "</think>"
    for answer in ("{}", "<answer>{}</answer>", "```sql\n{}\n```"):
        assert read(before + answer.format(query))[0] == RIGHT, before + answer
    # And the other way round: only the reasoning holds the right query.
    closed = "</think>" if reasoning.startswith("<think>\n") else ""
    other = Query((Item(2),), Comparison(2, ">", "1"))
    assert read(f"{reasoning.replace('{}', query)}{closed}\n{DRAFT}")[0] == other


@pytest.mark.parametrize(
    "text", ["<think>{}", "<|channel|>analysis<|message|>{}", "<thinking>\n{}\n", "{}</think>"]
)
def test_only_reasoning_holds_no_answer(text: str) -> None:
    result, read_as = read(text.format(SQL))
    assert isinstance(result, Failure)
    assert (result.kind, read_as) == ("no_query", None)


@pytest.mark.parametrize(("answer", "around"), ANSWERS)
@pytest.mark.parametrize("query", [SQL, DIALECT])
def test_an_answer_is_found_in_what_it_is_wrapped_in(
    answer: str, around: str | None, query: str
) -> None:
    assert read(answer.format(query)) == (RIGHT, f"dialect in {around}" if around else "dialect")
    assert read("Here is the query.\n\n" + answer.format(query))[0] == RIGHT


@pytest.mark.parametrize("program", PYTHON)
def test_a_string_of_a_program_is_the_query(program: str) -> None:
    quote = next(c for c in reversed(program[: program.index("{}")]) if c in "'\"")
    for query in (SQL, DIALECT):
        text = program.format(query.replace(quote, "\\" + quote))
        assert read(text) == (RIGHT, "dialect in string"), text
        fenced = read(f"```python\n{text}\n```")
        assert fenced == (RIGHT, "dialect in string in fence"), text
        if quote * 3 in program:
            assert read(program.format(query)) == (RIGHT, "dialect in string")


@pytest.mark.parametrize(
    "value",
    [
        {"sql": SQL},
        {"sql_query": SQL, "explanation": DRAFT},
        {"reasoning": DRAFT, "generated_sql": SQL},
        {"thought": DRAFT, "whatever": SQL},
        [{"sql": SQL}],
        [SQL],
        {"answer": {"statement": SQL, "confidence": 1.0}},
        {"name": "run", "arguments": {"q": SQL}},
        {"tool_calls": [{"function": {"name": "f", "arguments": json.dumps({"query": SQL})}}]},
        {"question": "Which of them?", "answer": f"```sql\n{SQL}\n```"},
    ],
)
@pytest.mark.parametrize(
    "around",
    ["{}", "```json\n{}\n```", "Here it is: {}", "{}<|im_end|>", "<tool_call>{}</tool_call>",
     "<|channel|>commentary to=functions.run <|constrain|>json<|message|>{}<|call|>",
     "<think>[1]</think>{} Done."],
)  # fmt: skip
def test_a_query_in_json_is_found_under_any_key(value: object, around: str) -> None:
    result, read_as = read(around.replace("{}", json.dumps(value, indent=1)))
    assert result == RIGHT
    assert read_as is not None
    assert "json" in read_as


@pytest.mark.parametrize(
    "steps",
    [
        "1. SELECT clause: Player\n2. FROM clause: the table\n3. WHERE clause: Pts\n\nFinal query:",
        "We SELECT the player FROM the table WHERE Pts exceeds 3.\n",
        "We need to SELECT Player FROM table and filter.\n",
        "- SELECT Player\n- FROM the table\n- WHERE Pts is more than 3\n",
        "**SELECT**: Player\n**FROM**: the table\n",
        "Step 1: SELECT the column Player FROM it.\nStep 2: filter.\n",
        "First select the player from the table, where the points are over 3.\n",
        "select the rows from the table\n",
        "```text\nselect Player from the table\n```\n",
        "```plan\nSELECT Player, then filter FROM there\n```\n",
    ],
)
def test_steps_that_name_clauses_are_no_query(steps: str) -> None:
    assert read(f"{steps}\n{SQL}")[0] == RIGHT
    assert read(f"{steps}\n```sql\n{SQL}\n```")[0] == RIGHT


@pytest.mark.parametrize(
    "second",
    ["\n{}", "\n\n{}", "\nor\n{}", "\n\nor\n\n{}", "\n\nAlternatively:\n{}", ";\n{}", "\n\nOr, {}",
     "\n\n```sql\n```\n{}", "\n-- or\n{}"],
)  # fmt: skip
def test_the_first_of_several_statements_counts(second: str) -> None:
    assert read(SQL + second.format(DRAFT))[0] == RIGHT
    assert read(DIALECT + second.format(DIALECT))[0] == RIGHT


def test_entities_are_read_where_the_text_is_none_without_them() -> None:
    text = SQL.replace(">", "&gt;").replace("'", "&#39;").replace('"', "&quot;")
    assert read(text) == (RIGHT, "dialect in entities")
    assert read(f"&lt;answer&gt;{text}&lt;/answer&gt;") == (RIGHT, "dialect in tag in entities")
    for quote in ("&#39;", "&apos;", "&#x27;"):
        result, read_as = read("SELECT Player FROM table WHERE Player = 'x'".replace("'", quote))
        assert (getattr(result, "where", None), read_as[-8:]) == (
            Comparison(0, "=", "x"),
            "entities",
        )
    kept = SQL.replace("'x'", "'R&amp;B'")
    result, _ = read(kept)
    assert isinstance(result, Query)
    assert "R&amp;B" in repr(result)


def test_brackets_of_t_sql_and_comparisons_are_no_tags() -> None:
    text = "SELECT [Player] FROM [1-1001-11] WHERE [Pts] > 3 AND [No.] = 'x'"
    assert read(text)[0] == RIGHT
    spaced = "SELECT Player FROM 1-1001-11 WHERE Pts <30 AND No. = 'x' AND Pts >3"
    assert isinstance(read(spaced)[0], Query)


def test_the_pieces_of_a_text_cover_it_but_for_its_marks() -> None:
    text = "a<think>b</think>c<answer>d</answer>e<foo>f</foo>"
    found = [(text[piece.start : piece.end], piece.rank) for piece in pieces(text)]
    assert found == [("a", 0), ("b", None), ("c", 0), ("d", 2), ("e", 0), ("f", -1), ("", 0)]


def test_every_wrapper_is_named() -> None:
    assert list(WRAPPERS) == ["tag", "fence", "json", "string", "entities"]
    assert [block.wrappers for block in blocks(f"<sql>{SQL}</sql>")] == [("tag",)]


def test_rows_of_scores_say_how_a_text_was_read() -> None:
    gold = LogicalForm(0, 0, (Condition(1, 0, "x"),))
    table = Table("1-1001-11", ("Player", "No.", "Pts"), ("text", "text", "real"), (("a", "x", 3),))
    texts = [SQL, f"```sql\n{SQL}\n```", "no query"]
    examples = [Example(index, "1-1001-11", "?", gold) for index in range(3)]
    answers = [Prediction(index, text=text) for index, text in enumerate(texts)]
    rows = [one.row() for one in score({table.id: table}, examples, answers)]
    assert [row["read_as"] for row in rows] == ["dialect", "dialect in fence", None]


def test_rows_of_scores_say_which_name_is_unknown() -> None:
    gold = LogicalForm(0, 0, (Condition(1, 0, "x"),))
    table = Table("1-1001-11", ("Player", "No.", "Pts"), ("text", "text", "real"), (("a", "x", 3),))
    texts = ['SELECT "Height" FROM table', "SELECT Player FROM other", "no query", SQL]
    examples = [Example(index, "1-1001-11", "?", gold) for index in range(4)]
    answers = [Prediction(index, text=text) for index, text in enumerate(texts)]
    rows = [one.row() for one in score({table.id: table}, examples, answers)]
    assert [(row["failure"], row.get("detail")) for row in rows] == [
        ("unknown_column", "'Height' is no column of 1-1001-11"),
        ("unknown_table", "'other' is not 1-1001-11"),
        ("no_query", None),
        (None, None),
    ]
    stored = {"table_id": table.id, "text": texts[0], **rows[0]}
    assert PredictionRow(**stored).detail == rows[0]["detail"]
    del stored["detail"]  # a run of before
    assert PredictionRow(**stored).detail is None
