"""SQL as models write it, seeded: text + gold on one table.

Identifiers bare, in double quotes, backticks or brackets, in any case; qualified, aliased (also
with a name that is a header); literals in either quote, numbers as text; functions and casts that
change nothing; DISTINCT, GROUP BY, ORDER BY, LIMIT; then, for some, words left out, doubled,
swapped or put in. What stands around a statement in an answer is added apart, as the databases do
not read it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.data.records import Condition, LogicalForm, Table

TABLE = Table(
    "stats_2011",
    ("Player", "No.", "Team", "Points", "Goals (2011)", "Year"),
    ("text", "text", "text", "real", "real", "text"),
    (
        ("Ann Lee", "3", "Red", 4.0, 11.0, "2001"),
        ("Bob O'Neil", "7", "Red", 4.5, None, "2002"),
        ("Cy", "8", "Blue", 9.0, 2.0, "2002"),
        ("Dee", None, "Blue", 9.0, 2.0, "2003"),
        ("Eve Élan", "10", "Örebro", -1.0, 0.0, "2001"),
        ("Fay", "12", "Red", 1200.0, 7.0, "2001-02"),
        ("Gus", "3", "Örebro", 15.0, 11.0, None),
        ("hal", "21", "red", 9.0, 30.0, "2003"),
    ),
)


@dataclass(frozen=True)
class Sample:
    """A statement as a database gets it, the answer that it stands in, and the gold query."""

    sql: str
    answer: str
    gold: LogicalForm


_WORDS = (
    *("SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "NULL", "AS", "DISTINCT", "LIMIT", "1"),
    *(",", "(", ")", "=", "'Red'", "Points", "DESC", "ALL"),
)
_AROUND = (
    *(
        "{}",
        "{};",
        "```sql\n{}\n```",
        "```\n{}\n```",
        "Here is the query:\n\n{}",
        "<answer>{}</answer>",
    ),
    *(
        "<think>The team is needed.</think>\n{}",
        "SQL: {}",
        "{};\n\nThis query counts them.",
        "**{}**",
    ),
)
_OPERATORS = ("=", ">", "<")


class Writer:
    """Writes one statement, in a style of its own."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.quote = rng.choice(('""', '""', "``", "[]", ""))
        self.alias = rng.choice(("", "", "", " AS s", " s"))
        self.qualifier = rng.choice(("s.", "")) if self.alias else rng.choice(("",) * 6 + ("t",))
        self.keyword = rng.choice((str.upper, str.upper, str.upper, str.lower, str.title))
        self.literal = rng.choice("'''''\"")

    def name(self, column: int) -> str:
        header = TABLE.header[column]
        plain = header.isidentifier()
        quote = self.quote if self.quote or plain else '""'
        if self.rng.random() < 0.15:
            header = header.lower()
        text = f"{quote[0]}{header}{quote[1]}" if quote else header
        before = f'"{TABLE.id}".' if self.qualifier == "t" else self.qualifier
        return before + text

    def table(self) -> str:
        name = self.rng.choice((TABLE.id, f'"{TABLE.id}"', f'main."{TABLE.id}"', TABLE.id.upper()))
        return name + self.alias

    def item(self, agg: int, column: int) -> str:
        name = self.name(column)
        text = TABLE.types[column] == "text"
        if self.rng.random() < 0.06:
            kind = "TEXT" if text else "DOUBLE"
            name = self.rng.choice((f"CAST({name} AS {kind})", f"({name})"))
        if agg == 0:
            return name
        function = ("MAX", "MIN", "COUNT", "SUM", "AVG")[agg - 1]
        if agg == 3 and self.rng.random() < 0.3:
            return self.rng.choice(("COUNT(*)", "COUNT(1)", f"COUNT(DISTINCT {name})"))
        call = self.keyword(function)
        item = f"{call}({name})"
        return f"ROUND({item}, 2)" if agg == 5 and self.rng.random() < 0.1 else item

    def value(self, column: int, value: str | float) -> str:
        if isinstance(value, str) and not (value.isdigit() and self.rng.random() < 0.15):
            case = self.rng.choice((str, str, str.lower, str.upper))
            quote = self.literal
            return quote + case(value).replace(quote, quote * 2) + quote
        text = f"{value:g}" if isinstance(value, float) else value
        return f"'{text}'" if self.rng.random() < 0.1 else text

    def condition(self, condition: Condition) -> str:
        column, operator, value = condition
        name, shown = self.name(column), self.value(column, value)
        sign = _OPERATORS[operator]
        rare = self.rng.random()
        if TABLE.types[column] == "text" and operator == 0:
            forms = (
                f"LOWER({name}) = LOWER({shown})", f"{name} IN ({shown})", f"{name} LIKE {shown}",
                f"{name} ILIKE {shown}", f"{name} == {shown}", f"{name} = {shown} COLLATE NOCASE",
                f"TRIM({name}) = {shown}", f"{name} IS {shown}", f"NOT {name} <> {shown}",
                f"({name} = {shown})", f"{shown} = {name}",
            )  # fmt: skip
        else:
            forms = (
                f"({name} {sign} {shown})", f"{name} {sign}{shown}", f"{name} {sign} - {shown}",
                f"CAST({name} AS REAL) {sign} {shown}", f"{name} BETWEEN {shown} AND {shown}",
                f"{name} IS NOT NULL AND {name} {sign} {shown}", f"NOT ({name} {sign} {shown})",
                f"{name} LIKE {shown}",
            )  # fmt: skip
        return self.rng.choice(forms) if rare < 0.3 else f"{name} {sign} {shown}"

    def statement(self, gold: LogicalForm) -> str:
        rng, word = self.rng, self.keyword
        item = self.item(gold.agg, gold.sel)
        alias = rng.choice(("",) * 5 + ("n", '"n"', "Points", "Team", f'"{TABLE.header[4]}"'))
        shown = f"{item} {word('as')} {alias}" if alias else item
        if rng.random() < 0.06:
            shown += f", {self.name(rng.randrange(6))}"
        if rng.random() < 0.07:
            shown = f"{word('distinct')} {shown}"
        text = f"{word('select')} {shown} {word('from')} {self.table()}"
        if gold.conds:
            conditions = [self.condition(one) for one in gold.conds]
            text += f" {word('where')} " + f" {word(rng.choice(('and',) * 9 + ('or',)))} ".join(
                conditions
            )
        if rng.random() < 0.06:
            text += f" {word('group by')} {self.name(rng.randrange(6))}"
        if rng.random() < 0.15:
            key = rng.choice((alias or item, self.name(rng.randrange(6)), "1", "n"))
            text += f" {word('order by')} {key}" + rng.choice(("", " ASC", " DESC"))
            if rng.random() < 0.6:
                text += f" {word('limit')} {rng.choice((1, 1, 2, 3, 100))}"
        return text


def _gold(rng: random.Random) -> LogicalForm:
    sel = rng.randrange(6)
    numbers = TABLE.types[sel] == "real"
    agg = rng.choice((0, 0, 0, 1, 2, 3, 3) + ((4, 5) if numbers else ()))
    conds = []
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        column = rng.randrange(6)
        cells = [row[column] for row in TABLE.rows if row[column] is not None]
        value = rng.choice(cells)
        operator = 0 if TABLE.types[column] == "text" else rng.randrange(3)
        assert value is not None
        conds.append(Condition(column, operator, value))
    return LogicalForm(sel, agg, tuple(conds))


def _mutated(rng: random.Random, sql: str) -> str:
    words = sql.split(" ")
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(words))
        match rng.randrange(4):
            case 0:
                del words[at]
            case 1:
                words.insert(at, words[at])
            case 2:
                words.insert(at, rng.choice(_WORDS))
            case _:
                other = rng.randrange(len(words))
                words[at], words[other] = words[other], words[at]
        words = words or ["SELECT"]
    return " ".join(words)


def samples(seed: int, count: int) -> list[Sample]:
    """The statements of a seed, a fifth of them mutated, a third inside an answer's text."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        gold = _gold(rng)
        sql = Writer(rng).statement(gold)
        if rng.random() < 0.2:
            sql = _mutated(rng, sql)
        around = rng.choice(_AROUND) if rng.random() < 0.33 else "{}"
        # Half are held against another gold: what is wrong must be wrong as well.
        wanted = gold if rng.random() < 0.7 else _gold(rng)
        found.append(Sample(sql, around.replace("{}", sql), wanted))
    return found
