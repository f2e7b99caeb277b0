"""`doctor` and `params`: what this machine can do, and what a variant will cost on it."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.output import JsonFlag, answer


def doctor(json: JsonFlag = False) -> None:
    """Device, BLAS and its speed, memory, cache, what is reachable; what to do about problems."""
    from harness.cli import doctor as stage
    from harness.disk.cache import Cache

    report = stage.examine(Cache())
    answer(json, report.to_json(), stage.render(report))
    if not report.healthy:
        raise typer.Exit(1)


def params(
    model: Annotated[str, typer.Option(help="smollm2, tiny, a hub id or a directory.")],
    variant: Annotated[str, typer.Option(help="A variant's name or YAML file.")],
    json: JsonFlag = False,
) -> None:
    """Parameter counts and predicted sizes from the configuration alone, no weights."""
    from harness.models import parameters as stage
    from harness.train.variants import check_against, load_variants

    chosen = load_variants([variant])[0]
    config = stage.read_config(model)
    check_against(chosen, config)
    counts, sizes = stage.predict(
        config,
        fine_tune_type=chosen.fine_tune_type,
        num_layers=chosen.num_layers,
        lora_parameters=chosen.lora_parameters.model_dump(exclude_none=True),
        quantize=chosen.quantize,
    )
    value = {
        "model": model,
        "variant": chosen.name,
        "parameters": counts.to_json(),
        "sizes": sizes.to_json(),
    }
    answer(json, value, stage.render(model, chosen.name, counts, sizes))
