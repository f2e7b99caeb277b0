"""The untidiness of crowd-written questions: text with value marks -> question, gold values.

Values are private-use marks until the end, so that a typo or a lower-casing of the sentence never
touches a value: WikiSQL's values can always be found in the question, whatever their case.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.data.mini.rng import Rng

_MARK = 0xE000


def mark(index: int) -> str:
    """The mark that stands for the value of condition ``index``."""
    return chr(_MARK + index)


def untidy(rng: Rng, text: str) -> str:
    """``text`` as typed by someone paid by the question."""
    if rng.chance(0.10):
        text = text.lower()
    elif rng.chance(0.05):
        text = text[:1].lower() + text[1:]
    elif rng.chance(0.004):
        text = text.upper()
    if rng.chance(0.035):
        text = _typo(rng, text)
    if rng.chance(0.05):
        text = text.removesuffix("?").removesuffix(".")
    if rng.chance(0.02):
        text = _stretch(rng, text, "  ")
    if rng.chance(0.01):
        text = _stretch(rng, text, "\u00a0")
    if rng.chance(0.03):
        text += " "
    return text


def spoken_value(rng: Rng, value: str | float | int) -> tuple[str, str | float | int]:
    """How a question spells ``value``, and what the gold query holds.

    About a third of the text values are spelt in another case; the gold then follows the
    cell mostly and the question sometimes, as in WikiSQL.
    """
    if not isinstance(value, str):
        return str(value), value
    spelt = value
    if rng.chance(0.43):
        spelt = value.upper() if rng.chance(0.06) else value.lower()
        # Only spellings from which the cell can be found again ("ß" and "İ" change length).
        if spelt.lower() != value.lower():
            spelt = value
    return spelt, spelt if rng.chance(0.3) else value


def fill(text: str, spelt: Sequence[str]) -> str:
    """Put the values in the place of their marks."""
    for index, value in enumerate(spelt):
        text = text.replace(mark(index), value)
    return text


def _typo(rng: Rng, text: str) -> str:
    """Swap or drop a letter inside one plain word."""
    parts = text.split(" ")
    plain = [
        i for i, part in enumerate(parts) if len(part) > 3 and part.isascii() and part.isalpha()
    ]
    if not plain:
        return text
    index = rng.choice(plain)
    word = parts[index]
    at = rng.between(1, len(word) - 2)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    parts[index] = swapped if rng.chance(0.6) else word[:at] + word[at + 1 :]
    return " ".join(parts)


def _stretch(rng: Rng, text: str, space: str) -> str:
    spaces = [i for i, letter in enumerate(text) if letter == " "]
    if not spaces:
        return text
    at = rng.choice(spaces)
    return text[:at] + space + text[at + 1 :]
