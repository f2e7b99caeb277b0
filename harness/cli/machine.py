"""`doctor`, `params` and `plan`: what this machine can do, and what a variant will cost on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import JsonFlag, answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.models.parameters import Sizes
    from harness.schema.variant_result import Parameters
    from harness.train.estimate import Computer
    from harness.train.past_runs import PastRuns
    from harness.train.variant import Variant

Model = Annotated[str, typer.Option(help="smollm2, tiny, a hub id or a directory.")]
VariantName = Annotated[str, typer.Option(help="A variant's name or YAML file.")]


def doctor(json: JsonFlag = False) -> None:
    """Device, BLAS and its speed, memory, cache, what is reachable; what to do about problems."""
    from dataclasses import asdict

    from harness.cli.doctor import render, without_mlx
    from harness.disk.cache import Cache
    from harness.machine.installed import backend_problem

    if problem := backend_problem():
        report = without_mlx(Cache(), problem)
    else:
        from harness.cli.doctor_device import examine

        report = examine(Cache())
    answer(json, {**asdict(report), "healthy": report.healthy}, render(report))
    if not report.healthy:
        raise typer.Exit(1)


def params(model: Model, variant: VariantName, json: JsonFlag = False) -> None:
    """Parameter counts and predicted sizes from the configuration alone, no weights."""
    from harness.train.variants import load_variants

    chosen = load_variants([variant])[0]
    _, counts, sizes = _predicted(model, chosen)
    value = {
        "model": model,
        "variant": chosen.name,
        "parameters": counts.model_dump(),
        "sizes": sizes.model_dump(),
    }
    answer(json, value, render_params(f"{chosen.name} on {model}", counts, sizes))


def plan(
    model: Model,
    variant: VariantName,
    memory: Annotated[
        float | None, typer.Option(metavar="GB", help="The memory of another machine, or card.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="metal, cuda or cpu: another machine's; default this one's.")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(metavar="KEY=V1,V2", help="A plan for each value.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Memory by batch size and length, disk and time, before any download; what fits."""
    from harness.markdown import paragraphs
    from harness.train.estimate import Subject
    from harness.train.plan import make_plan, render
    from harness.train.variants import load_variants

    computer, past = _computer(backend, memory)
    plans = []
    for chosen in load_variants([variant], sweeps=dict(map(_sweep, sweep or ()))):
        config, counts, sizes = _predicted(model, chosen)
        subject = Subject(chosen, config, counts, sizes.base_by_dtype)
        plans.append(make_plan(model, subject, computer, past))
    values = [found.model_dump(mode="json") for found in plans]
    answer(json, {"plans": values} if sweep else values[0], paragraphs(*map(render, plans)))


def _sweep(raw: str) -> tuple[str, str]:
    """The key and the values of one `--sweep KEY=V1,V2`."""
    from harness.errors import UserError

    key, _, values = raw.partition("=")
    if not key.strip() or not values.strip():
        raise UserError(f"--sweep {raw!r} is not KEY=V1,V2; try --sweep lora_parameters.rank=4,8")
    return key.strip(), values


def _predicted(model: str, chosen: Variant) -> tuple[Mapping[str, Any], Parameters, Sizes]:
    """The model's configuration, and what it comes to under a variant."""
    from harness.machine.installed import check_backend
    from harness.models.parameters import predict
    from harness.models.quantize import SOURCE
    from harness.models.resolve import read_config
    from harness.train.variants import check_against

    check_backend()
    config = read_config(model, packed=chosen.keeps_source)
    check_against(chosen, config)
    counts, sizes = predict(
        config,
        fine_tune_type=chosen.fine_tune_type,
        num_layers=chosen.num_layers,
        lora_parameters=chosen.lora_parameters.model_dump(exclude_none=True),
        quantize=None if chosen.quantize == SOURCE else chosen.quantize,
    )
    return config, counts, sizes


def _computer(backend: str | None, memory: float | None) -> tuple[Computer, PastRuns]:
    """What computes, and its past trainings: this machine, or another of the size given."""
    from harness.disk.cache import Cache
    from harness.errors import unknown
    from harness.machine.chip import compute_device
    from harness.models.cpu.rule import this_rule
    from harness.models.device import device_memory, measured_blas, product_gflops
    from harness.train.estimate import Computer, working_set
    from harness.train.past_runs import PastRuns

    here = device_memory()
    if backend not in (None, "metal", "cuda", "cpu"):
        raise unknown("backend", str(backend), ("metal", "cuda", "cpu"))
    chosen = backend or here.backend
    total = here.total_bytes if memory is None else working_set(chosen, round(memory * 1e9))
    chunked = chosen == "cpu" and this_rule(measured_blas().name).chunked_loss
    if chosen != here.backend:
        return Computer(chosen, total, None, chunked), PastRuns(Cache().root)
    past = PastRuns.of(Cache().root, [chosen, *compute_device()[1:]])
    return Computer(chosen, total, product_gflops(), chunked), past


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
