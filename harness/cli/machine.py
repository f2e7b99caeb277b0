"""`doctor`, `params` and `plan`: what this machine can do, and what a variant will cost on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import JsonFlag, answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.models.parameters import Sizes
    from harness.schema.variant_result import Parameters
    from harness.train.estimate import Computer
    from harness.train.past_runs import PastRuns
    from harness.train.variant import Variant

Model = Annotated[str, typer.Option(help="smollm2, tiny, a hub id or a directory.")]
Variants = Annotated[
    list[str], typer.Option(help="A variant's name or YAML file; repeatable, or a comma list.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a variant field; repeatable."),
]
_MOST_GB = 10**6


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


def params(
    model: Model, variant: Variants, changes: Changes = None, json: JsonFlag = False
) -> None:
    """Parameter counts and predicted sizes from the configuration alone, no weights."""
    from harness.machine.installed import check_backend
    from harness.markdown import paragraphs
    from harness.train.variants import load_variants

    check_backend()
    values, texts = [], []
    for chosen in load_variants(variant, _changes("--set", changes)):
        _, counts, sizes = _predicted(model, chosen)
        values.append(
            {
                "model": model,
                "variant": chosen.name,
                "parameters": counts.model_dump(),
                "sizes": sizes.model_dump(),
            }
        )
        texts.append(render_params(f"{chosen.name} on {model}", counts, sizes))
    answer(json, {"params": values} if len(values) > 1 else values[0], paragraphs(*texts))


def plan(
    model: Model,
    variant: Variants,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            help="The memory of another machine, or card, as it is sold: GB of 2^30 bytes.",
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="metal, cuda or cpu: another machine's; default this one's.")
    ] = None,
    changes: Changes = None,
    sweep: Annotated[
        list[str] | None, typer.Option(metavar="KEY=V1,V2", help="A plan for each value.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Memory by batch size and length, disk and time, before any download; what fits."""
    from harness.machine.installed import check_backend

    check_backend()
    from harness.errors import UserError
    from harness.markdown import paragraphs
    from harness.train.estimate import Subject
    from harness.train.plan import make_plan, render
    from harness.train.variants import load_variants

    computer, past = _computer(backend, memory)
    plans = []
    sets, sweeps = _changes("--set", changes), _changes("--sweep", sweep)
    if both := ", ".join(sets.keys() & sweeps.keys()):
        raise UserError(f"--set and --sweep both give {both}: leave one out")
    for chosen in load_variants(variant, sets, sweeps=sweeps):
        config, counts, sizes = _predicted(model, chosen)
        subject = Subject(chosen, config, counts, sizes.base_by_dtype)
        plans.append(make_plan(model, subject, computer, past))
    values = [found.model_dump(mode="json") for found in plans]
    several = len(values) > 1 or sweep
    answer(json, {"plans": values} if several else values[0], paragraphs(*map(render, plans)))


_EXAMPLES = {
    "--set": "KEY=VALUE; try --set num_layers=8",
    "--sweep": "KEY=V1,V2; try --sweep lora_parameters.rank=4,8",
}


def _changes(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """The values by key of every `--set KEY=VALUE`, or `--sweep KEY=V1,V2`."""
    from harness.errors import UserError

    found: dict[str, str] = {}
    for raw in given or ():
        key, equals, value = raw.partition("=")
        if not key.strip() or not equals or (option == "--sweep" and not value.strip()):
            raise UserError(f"{option} {raw!r} is not {_EXAMPLES[option]}")
        found[key.strip()] = value
    return found


def _predicted(model: str, chosen: Variant) -> tuple[Mapping[str, Any], Parameters, Sizes]:
    """The model's configuration, and what it comes to under a variant."""
    from harness.models.parameters import predict
    from harness.models.quantize import SOURCE, require_quantized_so
    from harness.models.resolve import architecture_of, read_config
    from harness.train.variants import check_against

    config = read_config(model, packed=chosen.keeps_source)
    architecture_of(model, config, trust_remote_code=False)
    check_against(chosen, config)
    if chosen.quantize not in (None, SOURCE):
        require_quantized_so(model, config, chosen.quantize)
    counts, sizes = predict(
        config,
        fine_tune_type=chosen.fine_tune_type,
        num_layers=chosen.num_layers,
        lora_parameters=chosen.lora_parameters.model_dump(exclude_none=True),
        quantize=None if chosen.quantize == SOURCE else chosen.quantize,
    )
    return config, counts, sizes


def _computer(backend: str | None, memory: float | None) -> tuple[Computer, PastRuns]:
    """What computes, and its past trainings: this machine, or another of the size given, by default
    of this one's.

    Raises:
        UserError: no such backend or memory; CUDA elsewhere, and no memory of its card.
    """
    from harness.disk.cache import Cache
    from harness.errors import UserError, unknown

    if backend not in (None, "metal", "cuda", "cpu"):
        raise unknown("backend", str(backend), ("metal", "cuda", "cpu"))
    if memory is not None and not 0 < memory <= _MOST_GB:
        raise UserError(f"--memory {memory:g}: must be GB above 0, at most {_MOST_GB:,}; try 16.")
    from harness.machine.chip import compute_device
    from harness.models.cpu.rule import memory_bytes, this_rule
    from harness.models.device import device_memory, measured_blas, product_gflops
    from harness.train.estimate import Computer, working_set
    from harness.train.past_runs import PastRuns

    here = device_memory()
    chosen, total = backend or here.backend, here.total_bytes
    if chosen == "cuda" != here.backend and memory is None:
        raise UserError("--backend cuda: no card is here. Name its memory, such as --memory 24.")
    if memory is not None or chosen != here.backend:
        has = memory_bytes() if memory is None else memory * 2**30
        total = working_set(chosen, round(has))
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
