"""Sentence frames of the corpus's questions; `{s}` is what is asked for, `{p}` its plural.

`{has}` conditions follow "with", `{is_}` ones follow "when", `{c}` ones follow a noun, `{e}` is the
thing with its conditions, `{es}` the plural of a row's noun. The frames are our own; their kinds
and weights follow what WikiSQL's questions begin with (half "what", a seventh "which", …).
"""

from __future__ import annotations

from harness.data.mini.rng import Rng
from harness.data.mini.words import words

LITERAL = (
    (11, "What is the {s} when {is_}?"),
    (6, "What is the {s} with {has}?"),
    (6, "What {s} has {has}?"),
    (12, "Which {s} has {has}?"),
    (4, "What is the {s} that has {has}?"),
    (4, "What was the {s} when {is_}?"),
    (3, "What is {s}, when {is_}?"),
    (4, "What is the {s} where {is_}?"),
    (3, "What is the {s} if {is_}?"),
    (3, "What's the {s} with {has}?"),
    (2, "what's the {s} when {is_}"),
    (3, "Name the {s} with {has}"),
    (3, "Name the {s} when {is_}"),
    (1, "Tell me the {s} with {has}"),
    (1, "I want the {s} that has {has}"),
    (1, "Can you tell me the {s} that has {has}?"),
    (2, "When {is_}, what is the {s}?"),
    (2, "If {is_}, what is the {s}?"),
    (1, "With {has}, what is the {s}?"),
    (1, "For {has}, what is the {s}?"),
    (1, "The {s} is listed as what when {is_}?"),
    (4, "Which {s} is it when {is_}?"),
    (1, "Where {is_}, what {s} is listed?"),
)
MIXED = (
    (8, "What is the {s} of {e}?"),
    (7, "What is the {s} for {e}?"),
    (3, "What was the {s} for {e}?"),
    (3, "What was the {s} {c}?"),
    (2, "What {s} does {e} have?"),
    (2, "What {s} goes with {e}?"),
    (3, "Which {s} belongs to {e}?"),
    (2, "Name the {s} for {e}"),
    (1, "Tell me the {s} of {e}"),
    (2, "What's the {s} of {e}?"),
    (1, "Give the {s} for {e}."),
    (1, "For {e}, what is the {s}?"),
)
MIXED_BARE = (*MIXED, (5, "What is the {s} {c}?"), (3, "Which {s} is listed for {e}?"))
COUNT_LITERAL = (
    "How many {p} have {has}?",
    "How many {p} are there when {is_}?",
    "How many {p} with {has}?",
    "What is the total number of {p} with {has}?",
    "What is the total number of {p} when {is_}?",
    "What is the number of {p} that have {has}?",
    "Name the total number of {p} when {is_}",
    "Name the number of {p} for {has}",
    "How many different {p} are there with {has}?",
    "How many {p} are listed when {is_}?",
    "When {is_}, how many {p} are there?",
    "Tell me the number of {p} with {has}",
)
COUNT_MIXED = (
    "How many {p} are there for {e}?",
    "How many {p} does {e} have?",
    "How many {p} are listed for {e}?",
    "What is the number of {p} for {e}?",
    "What is the total number of {p} {c}?",
    "How many different {p} were there for {e}?",
    "Name the number of {p} for {e}",
)
COUNT_ROWS = (
    "How many {p} {c} are there?",
    "How many {p} are there {c}?",
    "How many {p} were {c}?",
    "What is the number of {p} {c}?",
    "Count the {p} {c}.",
)
COUNT_ALL = (
    "How many {p} are there?",
    "How many {p} are listed?",
    "What is the total number of {p}?",
    "How many {p} are there for all {es}?",
    "How many {p} are in the table?",
)
AGG_ALL = (
    "What is the {s}?",
    "What is the {s} of all {es}?",
    "What is the {s} listed?",
    "Name the {s}",
    "What was the {s} overall?",
    "Of all {es}, what is the {s}?",
)
ALL_ROWS = (
    "What are all the {s} entries?",
    "List the {s} of all {es}.",
    "What is the {s} of every one of the {es}?",
    "Name every {s}",
    "Which {s} entries are there?",
)
HAS = (
    (8, "{an} {h} of {v}"),
    (4, "{h} of {v}"),
    (3, "{h} {v}"),
    (2, "the {h} {v}"),
    (2, "{an} {h} that is {v}"),
    (1, "{v} as {h}"),
    (1, "{v} for {h}"),
    (1, "{h} being {v}"),
)
HAS_COMPARED = (
    "{an} {h} {than} {v}",
    "{h} {than} {v}",
    "{an} {h} that is {than} {v}",
    "the {h} {than} {v}",
    "{an} {h} {than} {v}",
)
IS = ("the {h} is {v}", "{h} is {v}", "the {h} was {v}", "the {h} is {v}", "{h} shows {v}")
IS_COMPARED = (
    "the {h} is {than} {v}",
    "{h} is {than} {v}",
    "the {h} was {than} {v}",
    "the {h} is {than} {v}",
    "the {h} comes out {than} {v}",
)
AFTER_COMPARED = (
    "with {an} {h} {than} {v}",
    "whose {h} is {than} {v}",
    "with {h} {than} {v}",
    "having {an} {h} {than} {v}",
    "with the {h} {than} {v}",
)
AFTER_PLAIN = (
    "with {an} {h} of {v}",
    "whose {h} is {v}",
    "with {v}",
    "listed with {v}",
    "with {v} as {h}",
)
_LARGE = ("larger than", "greater than", "more than", "over", "above", "bigger than", "higher than")
_SMALL = ("smaller than", "less than", "under", "below", "lower than")
THAN: dict[int, dict[str, tuple[str, ...]]] = {
    1: {
        "size": _LARGE,
        "count": ("more than", "larger than", "over", "greater than", "bigger than"),
        "rank": ("larger than", "greater than", "higher than", "above", "more than"),
        "year": ("after", "later than", "larger than", "more recent than", "greater than"),
    },
    2: {
        "size": _SMALL,
        "count": ("less than", "fewer than", "under", "smaller than", "lower than"),
        "rank": ("smaller than", "less than", "lower than", "below", "under"),
        "year": ("before", "earlier than", "prior to", "smaller than", "less than"),
    },
}
SUPERLATIVES: dict[int, dict[str, tuple[str, ...]]] = {
    1: {
        "size": ("highest", "largest", "maximum", "greatest", "biggest", "top"),
        "count": ("highest", "most", "maximum", "largest", "greatest"),
        "rank": ("highest", "largest", "maximum", "last", "greatest"),
        "year": ("latest", "most recent", "last", "highest", "maximum"),
    },
    2: {
        "size": ("lowest", "smallest", "minimum", "least", "lowest"),
        "count": ("lowest", "fewest", "minimum", "smallest", "least"),
        "rank": ("lowest", "smallest", "minimum", "first", "least"),
        "year": ("earliest", "first", "lowest", "minimum", "smallest"),
    },
}
TOTALS = {
    4: (
        "sum of {s}",
        "total {s}",
        "sum of the {s}",
        "combined {s}",
        "total of the {s}",
        "total sum of {s}",
    ),
    5: ("average {s}", "mean {s}", "average of the {s}", "average {s}", "typical average {s}"),
}


_NO_PLURAL = words(
    "by|from|into|at|on|out|to|made|built|won|lost|sold|in|for|against|left|first|end|gold|silver|"
    "bronze|draw|staff|until|since|crew|audience"
)


def weighted(rng: Rng, frames: tuple[tuple[int, str], ...]) -> str:
    """One of ``frames``, each as likely as its weight."""
    roll = rng.below(sum(weight for weight, _ in frames))
    for weight, frame in frames:
        roll -= weight
        if roll < 0:
            return frame
    raise AssertionError("weights are positive")


def article(noun: str) -> str:
    """`a` or `an`."""
    return "an" if noun[:1].lower() in set("aeio") else "a"


def plural(noun: str) -> str:
    """A rough plural; a header that ends in a sign, a preposition or an s stays as it is."""
    last = noun.split(" ")[-1]
    if len(last) < 3 or not last.isalpha() or not last.isascii() or last[-1].lower() == "s":
        return noun
    if last.lower() in _NO_PLURAL or last.endswith("ed"):
        return noun
    if last[-1] == "y" and last[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if last[-1] in "xhz" and last[-2:] != "th" else "s")
