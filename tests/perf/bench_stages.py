"""Tables of `make perf`: where the time of training and of answering goes."""

from __future__ import annotations

from bench_model import adapter, child, skip_if_there
from table import Measured, Row, keep, keep_table


def test_stages_training() -> None:
    skip_if_there("stages_training")
    for variant in ("lora", "qlora"):
        ours = child("training", variant)
        total = sum(pair[0] for name, pair in ours.items() if "evaluation" not in name)
        keep_table(
            "stages_training" if variant == "lora" else "stages_training_qlora",
            f"Where a {variant} step's time goes",
            ("stage", "ours", "share", "with MLX's own function"),
            [
                (
                    name,
                    f"{1e3 * pair[0]:.0f} ms",
                    "" if "evaluation" in name else f"{100 * pair[0] / total:.0f}%",
                    f"{1e3 * pair[1]:.0f} ms",
                )
                for name, pair in ours.items()
            ],
            "A step of 4 x 83 tokens of smollm2 by its parts, each run alone. MLX takes the "
            "vocabulary's exponentials one scalar at a time, twice. The backbone is the same on "
            "both sides of this table: our SiLU, softmax and unpacking are in it.",
        )


def test_products_and_operations() -> None:
    skip_if_there("products")
    found = {variant: child("operations", variant) for variant in ("lora", "qlora")}
    keep_table(
        "operations",
        "Where a training step's processor time goes, by operation",
        ("operation", "LoRA", "share", "QLoRA", "share"),
        [
            (
                name,
                *(
                    text
                    for spent in found.values()
                    for text in (
                        f"{1e3 * spent[name]:.0f} ms",
                        f"{100 * spent[name] / spent['whole']:.0f}%",
                    )
                ),
            )
            for name in found["lora"]
        ],
        "Processor milliseconds of one thread, a step of 4 x 83 tokens of smollm2, the optimizer's "
        "update with it; each operation alone over all layers, with its gradient where the step "
        "needs one, the last row by difference. QLoRA's products dequantize their weights first.",
    )
    lora = found["lora"]
    shares = [sum(s for name, s in lora.items() if "product" in name) / lora["whole"]]
    keep(
        Row(
            "products",
            "share of a LoRA step that is matrix products at the BLAS's own speed",
            "the whole step",
            Measured((100 * shares[0],), "%"),
            None,
            shares[0],
            "%",
            0.45,
            0.6,
            True,
            "processor time of one thread: the products with the model's weights that the step "
            "needs, each alone, over the whole step; the adapters' own products left out",
        )
    )


def test_stages_generation() -> None:
    skip_if_there("stages_generation")
    result = child("decoding", adapter())
    total = sum(result["stages"].values())
    keep_table(
        "stages_generation",
        "Where the time of answering goes",
        ("stage", "time", "share"),
        [
            (name, f"{seconds:.2f} s", f"{100 * seconds / total:.0f}%")
            for name, seconds in result["stages"].items()
        ],
        f"{result['prompts']} prompts, {result['tokens']} tokens in {result['steps']} steps of "
        f"{result['rows'] / result['steps']:.0f} rows on average: "
        f"{1e3 * result['stages']['decoding'] / result['steps']:.0f} ms a step.",
    )


def test_stages_decoding_step() -> None:
    skip_if_there("stages_decoding_step")
    steps = {rows: child("decoding_step", str(rows)) for rows in (64, 16, 1)}
    joined, batch, single = steps.values()
    keep_table(
        "stages_decoding_step",
        "Where a decoding step's time goes",
        ("part", "64 rows", "share", "16 rows", "1 row"),
        [
            (
                name,
                f"{spent:.1f} ms",
                f"{100 * spent / joined['whole']:.0f}%",
                f"{batch[name]:.1f} ms",
                f"{single[name]:.1f} ms",
            )
            for name, spent in joined.items()
        ],
        "smollm2 in float32 without an adapter; each part run alone over all layers, the rest by "
        "difference.",
    )
