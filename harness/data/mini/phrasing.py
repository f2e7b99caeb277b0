"""Questions for logical forms: (table, query) -> a sentence with value marks (`surface.py`).

Three manners, in about the shares that WikiSQL's workers used: literal (headers of everything),
mixed (the header asked for, conditions in people's words or bare) and natural (the header is not
said at all). Every aggregate has five frames or more in each manner.
"""

from __future__ import annotations

from harness.data.mini import frames as f
from harness.data.mini.rng import Rng
from harness.data.mini.surface import mark
from harness.data.mini.tables import BuiltTable
from harness.data.records import Condition, LogicalForm

COUNT = 3


def ask(rng: Rng, built: BuiltTable, gold: LogicalForm) -> str:
    """A question whose answer is ``gold``; values are marks numbered as the conditions."""
    speaker = _Speaker(rng, built, gold)
    if not gold.conds:
        return speaker.without_conditions()
    roll = rng.below(100)
    if roll < 60:
        return speaker.literal()
    if roll < 76:
        return speaker.mixed()
    return speaker.natural()


class _Speaker:
    """One question in the making: its words are chosen as it is written."""

    def __init__(self, rng: Rng, built: BuiltTable, gold: LogicalForm) -> None:
        self.rng = rng
        self.built = built
        self.gold = gold
        self.column = built.columns[gold.sel]
        order = list(range(len(gold.conds)))
        self.order = rng.shuffled(order) if rng.chance(0.35) else order

    def header(self, index: int) -> str:
        """A header as written, or without its capitals."""
        name = self.built.table.header[index]
        return name if self.rng.chance(0.5) else name.lower()

    def noun(self, index: int) -> str:
        """A paraphrase of a header, or the header."""
        nouns = self.built.columns[index].nouns
        return self.rng.choice(nouns) if nouns else self.header(index)

    def target(self, noun: str) -> str:
        """The noun with the aggregate's words before it."""
        agg = self.gold.agg
        if agg == 0:
            return noun
        if agg in (1, 2):
            return f"{self.rng.choice(f.SUPERLATIVES[agg][self.column.scale or 'size'])} {noun}"
        return self.rng.choice(f.TOTALS[agg]).format(s=noun)

    def literal(self) -> str:
        """Every header is said."""
        has = " and ".join(self.has(i) for i in self.order)
        is_ = " and ".join(self.is_(i) for i in self.order)
        if self.gold.agg == COUNT:
            noun = f.plural(self.header(self.gold.sel))
            return self.rng.choice(f.COUNT_LITERAL).format(p=noun, has=has, is_=is_)
        target = self.target(self.header(self.gold.sel))
        return f.weighted(self.rng, f.LITERAL).format(s=target, has=has, is_=is_)

    def mixed(self) -> str:
        """The header asked for is said; conditions are not, mostly."""
        if self.gold.agg == COUNT:
            noun = f.plural(self.header(self.gold.sel))
            return self.rng.choice(f.COUNT_MIXED).format(
                p=noun, e=self.thing(), c=self.circumstance()
            )
        target = self.target(self.header(self.gold.sel))
        frames = f.MIXED_BARE if self.bare() else f.MIXED
        frame = f.weighted(self.rng, frames)
        return frame.format(s=target, e=self.thing(), c=self.circumstance())

    def natural(self) -> str:
        """As one would ask a friend."""
        if self.gold.agg == COUNT:
            if self.column.role == "key":
                entities = self.rng.choice(self.built.topic.entities)
                return self.rng.choice(f.COUNT_ROWS).format(p=entities, c=self.circumstance())
            noun = f.plural(self.noun(self.gold.sel))
            return self.rng.choice(f.COUNT_MIXED).format(
                p=noun, e=self.thing(), c=self.circumstance()
            )
        if self.gold.agg == 0 and self.column.asks and self.rng.chance(0.85):
            return self.rng.choice(self.column.asks).format(e=self.thing())
        target = self.target(self.noun(self.gold.sel))
        return f.weighted(self.rng, f.MIXED).format(s=target, e=self.thing(), c=self.circumstance())

    def without_conditions(self) -> str:
        """A question on the whole table."""
        entities = self.rng.choice(self.built.topic.entities)
        name = self.header(self.gold.sel) if self.rng.chance(0.7) else self.noun(self.gold.sel)
        if self.gold.agg == COUNT:
            return self.rng.choice(f.COUNT_ALL).format(p=f.plural(name), es=entities)
        frames = f.ALL_ROWS if self.gold.agg == 0 else f.AGG_ALL
        return self.rng.choice(frames).format(s=self.target(name), es=entities)

    def has(self, index: int) -> str:
        """A condition after "with" or "has": `a Position of X`."""
        cond = self.gold.conds[index]
        name = self.header(cond.column) if self.rng.chance(0.92) else self.noun(cond.column)
        if cond.operator == 0:
            form = f.weighted(self.rng, f.HAS)
        else:
            form = self.rng.choice(f.HAS_COMPARED)
        return form.format(h=name, v=mark(index), than=self.than(cond), an=f.article(name))

    def is_(self, index: int) -> str:
        """A condition after "when": `the Position is X`."""
        cond = self.gold.conds[index]
        name = self.header(cond.column) if self.rng.chance(0.92) else self.noun(cond.column)
        form = self.rng.choice(f.IS if cond.operator == 0 else f.IS_COMPARED)
        return form.format(h=name, v=mark(index), than=self.than(cond))

    def than(self, cond: Condition) -> str:
        """`more than`, `before`, …; nothing for equality."""
        if cond.operator == 0:
            return ""
        scale = self.built.columns[cond.column].scale or "size"
        return self.rng.choice(f.THAN[cond.operator][scale])

    def after(self, index: int) -> str:
        """A condition in people's words, following a noun: `directed by X`."""
        cond = self.gold.conds[index]
        column = self.built.columns[cond.column]
        if cond.operator != 0:
            noun = self.noun(cond.column)
            form = self.rng.choice(f.AFTER_COMPARED)
            return form.format(h=noun, v=mark(index), than=self.than(cond), an=f.article(noun))
        if column.after and self.rng.chance(0.8):
            return self.rng.choice(column.after).format(v=mark(index))
        noun = self.noun(cond.column)
        return self.rng.choice(f.AFTER_PLAIN).format(h=noun, v=mark(index), an=f.article(noun))

    def bare(self) -> bool:
        """Whether the one condition may be said as its value alone (`for Lyon`)."""
        conds = self.gold.conds
        return len(conds) == 1 and conds[0].operator == 0 and isinstance(conds[0].value, str)

    def thing(self) -> str:
        """What is asked about: a name, or the topic's noun with its conditions."""
        first = self.built.columns[self.gold.conds[0].column]
        entity = self.rng.choice(self.built.topic.entity)
        if self.bare() and first.role == "key" and self.rng.chance(0.75):
            return f"the {entity} {mark(0)}" if self.rng.chance(0.2) else mark(0)
        return f"the {entity} {self.circumstance()}"

    def circumstance(self) -> str:
        """All conditions in people's words."""
        return " and ".join(self.after(i) for i in self.order)
