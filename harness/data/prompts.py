"""How a table, a question and a query become text: records -> prompt and completion strings.

Three named, versioned styles: `dialect` is byte for byte the text that MLX's WikiSQL example
trains on (mlx-examples, `lora/data/wikisql.py`); `sql` is standard SQL with quoted identifiers;
`chat` gives `sql`'s task to an instruct model through its own chat template. A prompt ends at
"A:" and the completion starts with the space, so that the prompt's tokens are a prefix of the
text's. Not covered: tokens, BOS and the stop token (`tokens.py`); reading answers (`harness.sql`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from harness.data.records import (
    AGGREGATIONS,
    OPERATORS,
    Condition,
    Dataset,
    Gold,
    LogicalForm,
    SqlGold,
    Table,
)
from harness.disk.files import content_key
from harness.errors import UserError, unknown

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SQL_TYPES = {"text": "VARCHAR", "real": "DOUBLE"}
_INSTRUCTION = "Answer with one SQL query on the table below, and nothing else."


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """A named way of writing the task. ``version`` grows whenever a byte of any text changes."""

    name: str
    version: int
    chat: bool = False

    @property
    def sha256(self) -> str:
        """A hash of the template: of the text that it makes of a fixed example (32 digits)."""
        table = Table("1-1-1", ("A b", 'C"d'), ("text", "real"), ())
        gold = LogicalForm(0, 3, (Condition(0, 0, "x'y"), Condition(1, 1, 2.5)))
        text = self.prompt("q?", table, hint="h") + self.completion(gold, table)
        return content_key(self.name, self.version, text, *(_template_date() if self.chat else ()))

    def prompt(self, question: str, table: Table, hint: str | None = None) -> str:
        """The text before the answer; for `chat`, the user's message (see :func:`render_prompt`).

        Rows of the table are never shown; ``hint`` is a line between its columns and the question.
        """
        lines = _sql_schema(table) if self.name != "dialect" else _dialect_schema(table)
        if hint is not None:
            lines.append(hint)
        if self.chat:
            return "\n".join([_INSTRUCTION, *lines, f"Q: {question}"])
        return "\n".join([*lines, f"Q: {question}", "A:"])

    def completion(self, gold: Gold, table: Table) -> str:
        """The gold answer as the model should write it, with the space that follows "A:".

        A chat answer begins the assistant's turn, so it has no such space. Gold that is SQL text
        stands as it is.
        """
        if isinstance(gold, SqlGold):
            query = gold.text
        else:
            query = dialect_query(gold, table) if self.name == "dialect" else sql_query(gold, table)
        return query if self.chat else f" {query}"


STYLES = {
    "dialect": PromptStyle("dialect", 1),
    "sql": PromptStyle("sql", 1),
    "chat": PromptStyle("chat", 2, chat=True),
}
"""The styles that `--prompt-style` accepts."""


def style(name: str) -> PromptStyle:
    """The style called ``name``.

    Raises:
        UserError: no such style; the message lists them.
    """
    if name not in STYLES:
        raise unknown("prompt style", name, STYLES)
    return STYLES[name]


def texts_key(style: PromptStyle, dataset: Dataset) -> str:
    """What decides the texts made of ``dataset``: the style's hash and, where the data's own texts
    go through a chat template, the date that templates write."""
    through_template = not dataset.has_tables and dataset.has_answers
    return content_key(style.sha256, _template_date()) if through_template else style.sha256


def _template_date() -> list[str]:
    from harness.data.chat_template import DATE

    return [DATE.isoformat()]


def answers_in_one_line(style: PromptStyle, dataset: Dataset) -> bool:
    """Whether an answer is one line: in the dialect, which data without tables do not have."""
    return style.name == "dialect" and dataset.has_tables


def render_prompt(
    tokenizer: Any, style: PromptStyle, question: str, table: Table, hint: str | None = None
) -> str:
    """The whole prompt as text: ``style``'s own, in the model's chat template if it is `chat`.

    Raises:
        UserError: the style is `chat` and the tokenizer has no chat template.
    """
    prompt = style.prompt(question, table, hint)
    if not style.chat:
        return prompt
    from harness.data.chat_template import has_chat_template, render_conversation

    if not has_chat_template(tokenizer):
        raise UserError(
            "prompt style 'chat' needs a model whose tokenizer has a chat template, and this one "
            "has none. Use --prompt-style=dialect or sql, or an instruct model."
        )
    return render_conversation(tokenizer, [{"role": "user", "content": prompt}], answered=False)


def dialect_query(gold: LogicalForm, table: Table) -> str:
    """The WikiSQL dialect: unquoted headers, and text values in unescaped single quotes."""
    aggregate = f"{AGGREGATIONS[gold.agg]} " if gold.agg else ""
    query = f"SELECT {aggregate}{table.header[gold.sel]} FROM {table.id}"
    conditions = [
        f"{table.header[c.column]} {OPERATORS[c.operator]} "
        + (f"'{c.value}'" if table.types[c.column] == "text" else f"{c.value}")
        for c in gold.conds
    ]
    return query + (" WHERE " + " AND ".join(conditions) if conditions else "")


def sql_query(gold: LogicalForm, table: Table) -> str:
    """Standard SQL: quoted identifiers, doubled quotes, numbers bare in real columns."""
    names = identifiers(table.header)
    column = _quoted(names[gold.sel])
    target = f"{AGGREGATIONS[gold.agg]}({column})" if gold.agg else column
    conditions = [
        f"{_quoted(names[c.column])} {OPERATORS[c.operator]} "
        + _literal(c.value, table.types[c.column])
        for c in gold.conds
    ]
    where = " WHERE " + " AND ".join(conditions) if conditions else ""
    return f"SELECT {target} FROM {_quoted(table.id)}{where}"


def identifiers(header: tuple[str, ...]) -> tuple[str, ...]:
    """Column names that are unique in SQL: an empty header becomes `column N` (from 1), and a
    repeated one (SQL ignores case) gets ` (N)`; every other header stays as it is."""
    taken = {name.casefold() for name in header if name}
    seen: set[str] = set()
    names = []
    for number, original in enumerate(header, 1):
        name = original or f"column {number}"
        count = 2
        while name.casefold() in seen or (name != original and name.casefold() in taken):
            name = f"{original or f'column {number}'} ({count})"
            count += 1
        seen.add(name.casefold())
        names.append(name)
    return tuple(names)


def _dialect_schema(table: Table) -> list[str]:
    return [f"table: {table.id}", f"columns: {', '.join(table.header)}"]


def _sql_schema(table: Table) -> list[str]:
    columns = ", ".join(
        f"{_quoted(name)} {_SQL_TYPES[kind]}"
        for name, kind in zip(identifiers(table.header), table.types, strict=True)
    )
    return [f"table: {_quoted(table.id)}", f"columns: {columns}"]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str | float | int, kind: str) -> str:
    text = str(value)
    if kind == "real" and _NUMBER.fullmatch(text):
        return text
    return "'" + text.replace("'", "''") + "'"
