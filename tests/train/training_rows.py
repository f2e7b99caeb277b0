"""Token rows without a tokenizer, and shipped variants cut short."""

from __future__ import annotations

import random

from harness.data.tokens import TokenizedExample
from harness.train.variant import Variant
from harness.train.variants import load_variants

STOP = 257


def make_rows(count: int, seed: int) -> list[TokenizedExample]:
    """Rows of 12 to 50 tokens, three a table, ending in the tiny model's stop token."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        prompt, answer = generator.randint(8, 36), generator.randint(3, 13)
        text = [generator.randint(32, 120) for _ in range(prompt + answer)]
        rows.append(TokenizedExample(number, f"t{number // 3}", (*text, STOP), prompt))
    return rows


def make_variant(name: str, **changes: object) -> Variant:
    """A shipped variant cut short, of two layers."""
    short = {"iters": 4, "steps_per_report": 2, "steps_per_eval": 2, "save_every": 2}
    short |= {"val_batches": 2, "num_layers": 2}
    return load_variants([name], {k: str(v) for k, v in (short | changes).items()})[0]
