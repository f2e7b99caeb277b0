"""What fills a column: makers that take (rng, number of rows) and return that many cells.

Text pools are drawn once a table and are smaller than the table, so that values repeat and a
condition on the wrong column or value gives another result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.data.mini import words as w
from harness.data.mini.rng import Rng
from harness.data.records import Cell

Make = Callable[[Rng], str]
MONTHS = w.words(
    "January|February|March|April|May|June|July|August|September|October|November|December"
)


@dataclass(frozen=True, slots=True)
class Values:
    """A column's WikiSQL type and the maker of its cells."""

    kind: str
    cells: Callable[[Rng, int], list[Cell]]


def text(make: Make, repeat: float = 0.0) -> Values:
    """Text cells; about ``repeat`` of them repeat an earlier one, the others are distinct."""

    def cells(rng: Rng, n: int) -> list[Cell]:
        done: list[Cell] = []
        for _ in range(n):
            if done and rng.chance(repeat):
                done.append(rng.choice(done))
                continue
            for _ in range(20):
                value = make(rng)
                if value not in done:
                    break
            done.append(value)
        return done

    return Values("text", cells)


def pick(items: str | Sequence[str], pool: int = 6) -> Values:
    """Text cells from ``pool`` of ``items`` (a tuple, or a `|`-separated text)."""
    options = w.words(items) if isinstance(items, str) else items

    def cells(rng: Rng, n: int) -> list[Cell]:
        chosen = rng.sample(options, pool)
        return [rng.choice(chosen) for _ in range(n)]

    return Values("text", cells)


def whole(low: int, high: int) -> Values:
    """Real cells, whole numbers in [low, high]."""
    return Values("real", lambda rng, n: [rng.between(low, high) for _ in range(n)])


def skewed(high: int) -> Values:
    """Real cells, small counts mostly: 0 to ``high`` with the low ones likelier."""
    return Values(
        "real",
        lambda rng, n: [min(rng.between(0, high), rng.between(0, high)) for _ in range(n)],
    )


def decimal(low: float, high: float, digits: int = 1) -> Values:
    """Real cells with ``digits`` decimals."""
    scale = int(10**digits)

    def cell(rng: Rng) -> float | int:
        number = rng.between(int(low * scale), int(high * scale))
        # 12, not 12.0, so that a question and its gold spell the number alike.
        return number // scale if number % scale == 0 else number / scale

    def cells(rng: Rng, n: int) -> list[Cell]:
        return [cell(rng) for _ in range(n)]

    return Values("real", cells)


def serial(low: int, high: int, kind: str = "real") -> Values:
    """Consecutive numbers from a start in [low, high]; as text when ``kind`` says so."""

    def cells(rng: Rng, n: int) -> list[Cell]:
        start = rng.between(low, high)
        return [str(start + i) if kind == "text" else start + i for i in range(n)]

    return Values(kind, cells)


def years(low: int = 1920, high: int = 2012, step: int = 1) -> Values:
    """Real cells: years that rise by 0 to ``step`` a row."""

    def cells(rng: Rng, n: int) -> list[Cell]:
        year = rng.between(low, max(low, high - n * step // 2))
        done: list[Cell] = []
        for _ in range(n):
            done.append(year)
            year += rng.between(1 if step == 1 else 0, step)
        return done

    return Values("real", cells)


def dates(form: str = "") -> Values:
    """Text dates in one form a table (`mdy`, `dmy`, `md` or `iso`; any when empty), rising."""

    def cells(rng: Rng, n: int) -> list[Cell]:
        chosen = form or rng.choice(("mdy", "mdy", "dmy", "md", "iso"))
        year, day = rng.between(1935, 2012), rng.between(0, 200)
        done: list[Cell] = []
        for _ in range(n):
            day += rng.choice((0, 3, 7, 7, 14, 20))
            month, number = day // 30 % 12, day % 30 % 28 + 1
            full = {
                "mdy": f"{MONTHS[month]} {number}, {year + day // 360}",
                "dmy": f"{number} {MONTHS[month]} {year + day // 360}",
                "md": f"{MONTHS[month]} {number}",
                "iso": f"{year + day // 360}-{month + 1:02}-{number:02}",
            }
            done.append(full[chosen])
        return done

    return Values("text", cells)


def person(rng: Rng) -> str:
    """A full name, sometimes with an initial or a suffix."""
    name = f"{rng.choice(w.FIRST)} {rng.choice(w.LAST)}"
    if rng.chance(0.06):
        first, last = name.split(" ", 1)
        return f"{first} {rng.choice('ABCEHJLMRT')}. {last}"
    return f"{name}, Jr." if rng.chance(0.02) else name


def people(pool: int = 0) -> Values:
    """Text cells: names, from a pool of ``pool`` a table, or all different when 0."""
    if not pool:
        return text(person)

    def cells(rng: Rng, n: int) -> list[Cell]:
        chosen = [person(rng) for _ in range(pool)]
        return [rng.choice(chosen) for _ in range(n)]

    return Values("text", cells)


def made(make: Make, pool: int) -> Values:
    """Text cells from a pool of ``pool`` made values a table."""

    def cells(rng: Rng, n: int) -> list[Cell]:
        chosen = [make(rng) for _ in range(pool)]
        return [rng.choice(chosen) for _ in range(n)]

    return Values("text", cells)


def title(rng: Rng) -> str:
    """The title of a work."""
    a, a2 = rng.sample(w.ADJECTIVES, 2)
    n, m = rng.sample(w.NOUNS, 2)
    return rng.choice(w.TITLE_FORMS).format(
        a=a,
        a2=a2,
        n=n,
        m=m,
        v=rng.choice(w.VERBS),
        f=rng.choice(w.FIRST),
        y=rng.between(1950, 2010),
    )


def titles(quoted: bool = False) -> Values:
    """Different titles; with ``quoted``, half of the tables put them in double quotes."""
    plain = text(title)

    def cells(rng: Rng, n: int) -> list[Cell]:
        marks = quoted and rng.chance(0.5)
        return [f'"{cell}"' if marks else cell for cell in plain.cells(rng, n)]

    return Values("text", cells)


def club(rng: Rng) -> str:
    """A football club."""
    return rng.choice(w.CLUB_FORMS).format(c=rng.choice(w.CITIES))


def team(rng: Rng) -> str:
    """A North American team."""
    return f"{rng.choice(w.CITIES)} {rng.choice(w.MASCOTS)}"


def school(rng: Rng) -> str:
    """A school or college."""
    return rng.choice(w.SCHOOL_FORMS).format(c=rng.choice(w.CITIES))


def place(rng: Rng) -> str:
    """A city with its state."""
    return f"{rng.choice(w.CITIES)}, {rng.choice(w.STATES)}"


def pattern(form: str, repeat: float = 0.1) -> Values:
    """Text cells from a form: `#` is a digit, `1` a digit from 1 to 9, `@` a capital letter."""

    def make(rng: Rng) -> str:
        table = {"#": "0123456789", "1": "123456789", "@": "ABCDEFGHKLMNPRSTVW"}
        return "".join(rng.choice(table[c]) if c in table else c for c in form)

    return text(make, repeat)


def grouped(low: int, high: int, before: str = "", after: str = "") -> Values:
    """Numbers kept as text: `$1,234`, `24,317`, `12 km`."""
    return text(lambda rng: f"{before}{rng.between(low, high):,}{after}", repeat=0.1)


def decimal_text(low: float, high: float, digits: int = 1, after: str = "") -> Values:
    """Decimals kept as text: `12.5%`, `3.41`."""

    def make(rng: Rng) -> str:
        number = rng.between(int(low * 10**digits), int(high * 10**digits)) / 10**digits
        return f"{number:.{digits}f}{after}"

    return text(make, repeat=0.15)


def record() -> Values:
    """A running record of wins and losses, one game a row."""

    def cells(rng: Rng, n: int) -> list[Cell]:
        won, lost, dash = rng.between(0, 9), rng.between(0, 9), rng.choice("-–")
        done: list[Cell] = []
        for _ in range(n):
            won, lost = (won + 1, lost) if rng.chance(0.5) else (won, lost + 1)
            done.append(f"{won}{dash}{lost}")
        return done

    return Values("text", cells)


def scores(low: int, high: int, lead: str = "") -> Values:
    """Scores such as `2–1`; ``lead`` offers prefixes (`W |L `), one a cell."""
    options = lead.split("|") if lead else [""]

    def cells(rng: Rng, n: int) -> list[Cell]:
        dash = rng.choice("-–-")
        pairs = [(rng.between(low, high), rng.between(low, high)) for _ in range(n)]
        return [f"{rng.choice(options)}{a}{dash}{b}" for a, b in pairs]

    return Values("text", cells)


def clock(low: int, high: int) -> Values:
    """Times such as `2:41`, from seconds or minutes in [low, high]."""
    return text(lambda rng: "{}:{:02}".format(*divmod(rng.between(low, high), 60)), repeat=0.1)
