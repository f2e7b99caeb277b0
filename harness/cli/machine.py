"""`doctor` and `params`: what this machine can do, and what a variant will cost on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import JsonFlag, answer

if TYPE_CHECKING:
    from harness.models.parameters import Sizes
    from harness.schema.variant_result import Parameters


def doctor(json: JsonFlag = False) -> None:
    """Device, BLAS and its speed, memory, cache, what is reachable; what to do about problems."""
    from dataclasses import asdict

    from harness.cli.doctor import render, without_mlx
    from harness.disk.cache import Cache
    from harness.models.installed import backend_problem

    if problem := backend_problem():
        report = without_mlx(Cache(), problem)
    else:
        from harness.cli.doctor_device import examine

        report = examine(Cache())
    answer(json, {**asdict(report), "healthy": report.healthy}, render(report))
    if not report.healthy:
        raise typer.Exit(1)


def params(
    model: Annotated[str, typer.Option(help="smollm2, tiny, a hub id or a directory.")],
    variant: Annotated[str, typer.Option(help="A variant's name or YAML file.")],
    json: JsonFlag = False,
) -> None:
    """Parameter counts and predicted sizes from the configuration alone, no weights."""
    from harness.models.installed import check_backend
    from harness.models.parameters import predict
    from harness.models.quantize import SOURCE
    from harness.models.resolve import read_config
    from harness.train.variants import check_against, load_variants

    check_backend()
    chosen = load_variants([variant])[0]
    config = read_config(model, packed=chosen.keeps_source)
    check_against(chosen, config)
    counts, sizes = predict(
        config,
        fine_tune_type=chosen.fine_tune_type,
        num_layers=chosen.num_layers,
        lora_parameters=chosen.lora_parameters.model_dump(exclude_none=True),
        quantize=None if chosen.quantize == SOURCE else chosen.quantize,
    )
    value = {
        "model": model,
        "variant": chosen.name,
        "parameters": counts.model_dump(),
        "sizes": sizes.model_dump(),
    }
    answer(json, value, render_params(f"{chosen.name} on {model}", counts, sizes))


def render_params(title: str, counts: Parameters, sizes: Sizes) -> str:
    """The Markdown of ``params``: counts in millions, sizes in GB (10^9 bytes)."""
    from harness.markdown import table

    rows = [
        ("trainable, M", f"{counts.trainable / 1e6:.3f}"),
        ("total, M", f"{counts.total / 1e6:.3f}"),
        ("trainable per ten thousand", f"{counts.per_ten_thousand:.2f}"),
        ("packed total, M", f"{counts.packed_total / 1e6:.3f}"),
        ("trainable per ten thousand, packed", f"{counts.packed_per_ten_thousand:.2f}"),
        ("base, GB", f"{sizes.base_bytes / 1e9:.3f}"),
        ("base with its floats in bfloat16, GB", f"{sizes.base_bfloat16_bytes / 1e9:.3f}"),
        ("adapter, GB", f"{sizes.adapter_bytes / 1e9:.4f}"),
        ("fused, GB", f"{sizes.fused_bytes / 1e9:.3f}"),
    ]
    return f"{title}\n\n{table(('', ''), rows)}"
