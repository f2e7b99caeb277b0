"""The options of `pytest suites/`: declared once, read into one frozen record.

``declare`` adds them to pytest's parser, ``read`` turns pytest's configuration into
:class:`Options`. Nothing here looks at files; `pipeline.session` checks what the values name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.disk.files import user_path
from harness.errors import UserError

DEFAULT_VARIANTS = ("lora", "qlora")
DEFAULT_MODEL = "smollm2"
DEFAULT_DATASET = "mini"
DEFAULT_PROMPT_STYLE = "dialect"
DEFAULT_RESULTS_DIR = Path("results/runs")


Checkpoints = tuple[int, ...] | Literal["all"] | None
"""Iterations of saved checkpoints to evaluate too."""


@dataclass(frozen=True)
class Options:
    """What one invocation was asked to do; DESIGN §3 has the meaning of each field."""

    variants: tuple[str, ...] = DEFAULT_VARIANTS
    model: str = DEFAULT_MODEL
    dataset: str = DEFAULT_DATASET
    prompt_style: str = DEFAULT_PROMPT_STYLE
    limit: int | None = None
    overrides: dict[str, str] = field(default_factory=dict)
    adapter_path: Path | None = None
    checkpoints: Checkpoints = None
    seeds: tuple[int, ...] = (0,)
    """Seeds of training; the first one also draws the samples (--limit, fuse parity)."""
    many_seeds: bool = False
    seed_given: bool = False
    """Whether a seed was named; else a variant file's own ``seed`` holds."""
    baseline: Path | None = None
    gates: Path | None = None
    strict: bool = False
    bless: bool = False
    results_dir: Path = DEFAULT_RESULTS_DIR
    run_name: str | None = None
    remeasure: bool = False
    keep_fused: bool = False
    trust_remote_code: bool = False
    use_cache: bool = True


def declare(parser: Any) -> None:
    """Add tunebench's options to pytest's ``parser``.

    ``--strict`` is pytest's own flag (pytest 9 turns on its strict mode with it, and a second
    option of that name is refused); tunebench reads it: see :func:`read`.
    """
    group = parser.getgroup("tunebench", "tunebench: which adapter variant is better at Text2SQL")
    add = group.addoption
    add(
        "--variant",
        action="append",
        metavar="NAME|FILE",
        help="adapter variant: a name in fixtures/variants, a YAML file, a comma list or `all`; "
        f"repeatable (default: {', '.join(DEFAULT_VARIANTS)})",
    )
    add(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|ID|DIR",
        help="base model: smollm2, tiny, a hub id or a directory (default: %(default)s)",
    )
    add(
        "--dataset",
        default=DEFAULT_DATASET,
        metavar="NAME|DIR",
        help="mini, wikisql, or a directory in WikiSQL's or mlx-lm's layout (default: %(default)s)",
    )
    add(
        "--prompt-style",
        default=DEFAULT_PROMPT_STYLE,
        metavar="NAME",
        help="how table, question and SQL become text: dialect, sql, chat (default: %(default)s)",
    )
    add(
        "--limit",
        default=None,
        metavar="N",
        help="test loss, generation and execution on the first N of a seeded, table-stratified "
        "shuffle (default: all)",
    )
    add(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="override a variant field, e.g. iters=40 or lora_parameters.rank=16; repeatable",
    )
    add(
        "--adapter-path",
        default=None,
        metavar="DIR",
        help="evaluate this mlx-lm adapter instead of training one",
    )
    add(
        "--checkpoints",
        default=None,
        metavar="all|N,M",
        help="also evaluate saved checkpoints (default: only the last)",
    )
    add("--seed", default=None, metavar="N", help="random seed of training (default: 0)")
    add(
        "--seeds",
        default=None,
        metavar="N,M,...",
        help="one run folder per seed (NAME-seedN) and a summary with the spread",
    )
    add("--baseline", default=None, metavar="FILE", help="gate against this stored results.json")
    add(
        "--gates",
        default=None,
        metavar="FILE",
        help="gate thresholds (default: fixtures/gates.toml)",
    )
    add("--bless", action="store_true", help="make this run the baseline, keeping the old one")
    add(
        "--results-dir",
        default=str(DEFAULT_RESULTS_DIR),
        metavar="DIR",
        help="where runs are written (default: %(default)s)",
    )
    add(
        "--run-name",
        default=None,
        metavar="NAME",
        help="the run's folder; an existing one is refused (default: made from time and variants)",
    )
    add("--remeasure", action="store_true", help="take timings again though they are cached")
    add("--keep-fused", action="store_true", help="keep the fused models (default: deleted)")
    add("--trust-remote-code", action="store_true", help="let a hub model run its own code")
    add("--no-cache", action="store_true", help="neither read nor write the cache")


def read(config: Any) -> Options:
    """The :class:`Options` of a pytest ``config``.

    Raises:
        UserError: a malformed value or a contradiction between options.
    """
    get = config.getoption
    if get("--seed") is not None and get("--seeds") is not None:
        raise UserError("--seed and --seeds contradict one another: give one of them")
    many = get("--seeds") is not None
    options = Options(
        variants=_names(get("--variant")) or DEFAULT_VARIANTS,
        model=get("--model"),
        dataset=get("--dataset"),
        prompt_style=get("--prompt-style"),
        limit=None if get("--limit") is None else _integer("--limit", get("--limit"), 1),
        overrides=_overrides(get("overrides")),
        adapter_path=_path(get("--adapter-path")),
        checkpoints=_checkpoints(get("--checkpoints")),
        seeds=_seeds(get("--seed"), get("--seeds")),
        many_seeds=many,
        seed_given=many or get("--seed") is not None,
        baseline=_path(get("--baseline")),
        gates=_path(get("--gates")),
        strict=bool(config.getini("strict")),
        bless=get("--bless"),
        results_dir=user_path(get("--results-dir")),
        run_name=get("--run-name"),
        remeasure=get("--remeasure"),
        keep_fused=get("--keep-fused"),
        trust_remote_code=get("--trust-remote-code"),
        use_cache=not get("--no-cache"),
    )
    _refuse_contradictions(options)
    return options


def _refuse_contradictions(options: Options) -> None:
    if options.adapter_path is not None and len(options.variants) != 1:
        raise UserError(
            "--adapter-path evaluates one adapter, so it needs exactly one --variant that says "
            f"how it was made; got {', '.join(options.variants)}. Try: --variant=lora"
        )
    if options.adapter_path is not None and options.variants == ("base",):
        raise UserError(
            "--adapter-path with --variant=base: base has no adapter. Name the variant that the "
            "adapter was made as, e.g. --variant=lora"
        )
    if options.adapter_path is not None and options.checkpoints is not None:
        raise UserError("--adapter-path and --checkpoints contradict one another: give one")
    if options.adapter_path is not None and options.many_seeds:
        raise UserError("--adapter-path trains nothing, so --seeds has no meaning with it")
    if options.bless and options.baseline is None:
        raise UserError("--bless needs --baseline FILE: the baseline that this run replaces")
    if options.bless and options.many_seeds:
        raise UserError("--bless makes one run the baseline, and --seeds makes several: give one")
    if len(set(options.seeds)) != len(options.seeds):
        raise UserError(f"--seeds names a seed twice: {', '.join(map(str, options.seeds))}")
    if options.run_name is not None and (
        "/" in options.run_name or options.run_name in ("", ".", "..")
    ):
        raise UserError(
            f"--run-name {options.run_name!r} is not a folder name: use letters, digits, - and _"
        )


def _names(raw: Sequence[str] | None) -> tuple[str, ...]:
    names = [name.strip() for entry in raw or () for name in entry.split(",")]
    if any(not name for name in names):
        raise UserError("--variant got an empty name; try --variant=lora --variant=qlora")
    return tuple(dict.fromkeys(names))


def _integer(option: str, raw: str, least: int) -> int:
    try:
        value = int(raw)
    except ValueError:
        value = least - 1
    if value < least:
        raise UserError(f"{option} {raw!r} is not a whole number of {least} or more")
    return value


def _seeds(one: str | None, several: str | None) -> tuple[int, ...]:
    if several is not None:
        return tuple(_integer("--seeds", part, 0) for part in several.split(","))
    if one is not None and "," in one:
        raise UserError(f"--seed {one!r} is one seed; several are --seeds {one}")
    return (_integer("--seed", one or "0", 0),)


def _overrides(raw: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for entry in raw:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {entry!r} is not KEY=VALUE; try --set iters=40")
        if key.strip() == "seed":
            raise UserError(f"--set {entry}: the seed has an option of its own: --seed {value}")
        pairs[key.strip()] = value
    return pairs


def _checkpoints(raw: str | None) -> Checkpoints:
    if raw is None:
        return None
    if raw == "all":
        return "all"
    return tuple(_integer("--checkpoints", part, 1) for part in raw.split(","))


def _path(raw: str | None) -> Path | None:
    return None if raw is None else user_path(raw)
