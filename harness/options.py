"""The options of `pytest suites/`: declared once, read into one frozen record.

``declare`` adds them to pytest's parser, ``read`` turns pytest's configuration into
:class:`Options`. Nothing here looks at files; `pipeline.session` checks what the values name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from harness.disk.files import user_path
from harness.errors import UserError

Checkpoints = tuple[int, ...] | Literal["all"] | None
"""Iterations of saved checkpoints to evaluate too."""


@dataclass(frozen=True)
class Options:
    """The options of one invocation; DESIGN §3 has the meaning of each field."""

    variants: tuple[str, ...] = ("lora", "qlora")
    model: str = "smollm2"
    dataset: str = "mini"
    prompt_style: str = "dialect"
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
    results_dir: Path = Path("results/runs")
    run_name: str | None = None
    remeasure: bool = False
    keep_fused: bool = False
    trust_remote_code: bool = False
    use_cache: bool = True


DEFAULTS = Options()


def parse_names(raw: str) -> tuple[str, ...]:
    """The names of a comma list of variants."""
    names = tuple(name.strip() for name in raw.split(","))
    if not all(names):
        raise UserError("--variant got an empty name; try --variant=lora --variant=qlora")
    return names


def parse_integer(option: str, least: int) -> Callable[[str], int]:
    """A function that reads a whole number of ``least`` or more; ``option`` is for its message."""

    def parse(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            value = least - 1
        if value < least:
            raise UserError(f"{option} {raw!r} is not a whole number of {least} or more")
        return value

    return parse


def parse_seed(raw: str) -> int:
    """One seed."""
    if "," in raw:
        raise UserError(f"--seed {raw!r} is one seed; several are --seeds {raw}")
    return parse_integer("--seed", 0)(raw)


def parse_seeds(raw: str) -> tuple[int, ...]:
    """A comma list of different seeds."""
    seeds = tuple(map(parse_integer("--seeds", 0), raw.split(",")))
    if len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds names a seed twice: {', '.join(map(str, seeds))}")
    return seeds


def parse_override(raw: str) -> tuple[str, str]:
    """One ``KEY=VALUE``."""
    key, equals, value = raw.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {raw!r} is not KEY=VALUE; try --set iters=40")
    if key.strip() == "seed":
        raise UserError(f"--set {raw}: the seed has an option of its own: --seed {value}")
    return key.strip(), value


def parse_checkpoints(raw: str) -> Checkpoints:
    """``all`` or a comma list of iterations."""
    return "all" if raw == "all" else tuple(map(parse_integer("--checkpoints", 1), raw.split(",")))


def parse_run_name(raw: str) -> str:
    """The name of a folder."""
    if "/" in raw or raw in ("", ".", ".."):
        raise UserError(f"--run-name {raw!r} is not a folder name: use letters, digits, - and _")
    return raw


def _flag(field_name: str, help_text: str, action: str = "store_true") -> dict[str, Any]:
    return {"dest": field_name, "action": action, "help": help_text}


def _value(
    field_name: str, metavar: str, help_text: str, parse: Callable[[str], Any] = str, **more: Any
) -> dict[str, Any]:
    """What argparse needs to know of an option; its default is the field's."""
    default = getattr(DEFAULTS, field_name, None)
    return {
        "dest": field_name,
        "metavar": metavar,
        "help": help_text,
        "type": _checked(parse),
        "default": default,
        **more,
    }


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """``parse`` with its error as pytest's own, which ends pytest with one line and status 4."""

    def convert(raw: str) -> Any:
        try:
            return parse(raw)
        except UserError as error:
            raise pytest.UsageError(str(error)) from error

    return convert


_REPEATABLE = {"action": "append", "default": None}

DECLARED: dict[str, dict[str, Any]] = {
    "--variant": _value(
        "variants",
        "NAME|FILE",
        "adapter variant: a name in fixtures/variants, a YAML file, a comma list or `all`; "
        f"repeatable (default: {', '.join(DEFAULTS.variants)})",
        parse_names,
        **_REPEATABLE,
    ),
    "--model": _value(
        "model",
        "NAME|ID|DIR",
        "base model: smollm2, tiny, a hub id or a directory (default: %(default)s)",
    ),
    "--dataset": _value(
        "dataset",
        "NAME|DIR",
        "mini, wikisql, or a directory in WikiSQL's or mlx-lm's layout (default: %(default)s)",
    ),
    "--prompt-style": _value(
        "prompt_style",
        "NAME",
        "how table, question and SQL become text: dialect, sql, chat (default: %(default)s)",
    ),
    "--limit": _value(
        "limit",
        "N",
        "test loss, generation and execution on the first N of a seeded, table-stratified "
        "shuffle (default: all)",
        parse_integer("--limit", 1),
    ),
    "--set": _value(
        "overrides",
        "KEY=VALUE",
        "override a variant field, e.g. iters=40 or lora_parameters.rank=16; repeatable",
        parse_override,
        **_REPEATABLE,
    ),
    "--adapter-path": _value(
        "adapter_path", "DIR", "evaluate this mlx-lm adapter instead of training one", user_path
    ),
    "--checkpoints": _value(
        "checkpoints",
        "all|N,M",
        "also evaluate saved checkpoints (default: only the last)",
        parse_checkpoints,
    ),
    "--seed": _value("seed", "N", "random seed of training (default: 0)", parse_seed),
    "--seeds": _value(
        "seeds",
        "N,M,...",
        "one run folder per seed (NAME-seedN) and a summary with the spread",
        parse_seeds,
        default=None,
    ),
    "--baseline": _value("baseline", "FILE", "gate against this stored results.json", user_path),
    "--gates": _value("gates", "FILE", "gate thresholds (default: fixtures/gates.toml)", user_path),
    "--bless": _flag("bless", "make this run the baseline, keeping the old one"),
    "--results-dir": _value(
        "results_dir", "DIR", "where runs are written (default: %(default)s)", user_path
    ),
    "--run-name": _value(
        "run_name",
        "NAME",
        "the run's folder; an existing one is refused (default: made from time and variants)",
        parse_run_name,
    ),
    "--remeasure": _flag("remeasure", "take timings again though they are cached"),
    "--keep-fused": _flag("keep_fused", "keep the fused models (default: deleted)"),
    "--trust-remote-code": _flag("trust_remote_code", "let a hub model run its own code"),
    "--no-cache": _flag("use_cache", "neither read nor write the cache", "store_false"),
}
"""Every option and what argparse needs to know of it; `dest` is the field of :class:`Options`."""


def declare(parser: Any) -> None:
    """Add tunebench's options to pytest's ``parser``.

    ``--strict`` is pytest's own flag (pytest 9 turns on its strict mode with it, and a second
    option of that name is refused); tunebench reads it: see :func:`read`.
    """
    group = parser.getgroup("tunebench", "tunebench: which adapter variant is better at Text2SQL")
    for flag, settings in DECLARED.items():
        group.addoption(flag, **settings)


def read(config: Any) -> Options:
    """The :class:`Options` of a pytest ``config``.

    Raises:
        UserError: a contradiction between options.
    """
    given = vars(config.option)
    values = {one.name: given[one.name] for one in fields(Options) if one.name in given}
    seed, seeds = given["seed"], given["seeds"]
    names = [name for names in given["variants"] or [DEFAULTS.variants] for name in names]
    options = Options(
        **{
            **values,
            "variants": tuple(dict.fromkeys(names)),
            "overrides": dict(given["overrides"] or ()),
            "seeds": seeds or (DEFAULTS.seeds if seed is None else (seed,)),
            "many_seeds": seeds is not None,
            "seed_given": seeds is not None or seed is not None,
            "strict": bool(config.getini("strict")),
        }
    )
    for contradiction, message in _contradictions(options, seed):
        if contradiction:
            raise UserError(message)
    return options


def _contradictions(options: Options, seed: int | None) -> Iterable[tuple[bool, str]]:
    """Pairs of options that exclude one another: whether both were given, and the message."""
    given_adapter = options.adapter_path is not None
    return (
        (
            options.many_seeds and seed is not None,
            "--seed and --seeds contradict one another: give one of them",
        ),
        (
            given_adapter and len(options.variants) != 1,
            "--adapter-path evaluates one adapter, so it needs exactly one --variant that says "
            f"how it was made; got {', '.join(options.variants)}. Try: --variant=lora",
        ),
        (
            given_adapter and options.variants == ("base",),
            "--adapter-path with --variant=base: base has no adapter. Name the variant that the "
            "adapter was made as, e.g. --variant=lora",
        ),
        (
            given_adapter and options.checkpoints is not None,
            "--adapter-path and --checkpoints contradict one another: give one",
        ),
        (
            given_adapter and options.many_seeds,
            "--adapter-path trains nothing, so --seeds has no meaning with it",
        ),
        (
            options.bless and options.baseline is None,
            "--bless needs --baseline FILE: the baseline that this run replaces",
        ),
        (
            options.bless and options.many_seeds,
            "--bless makes one run the baseline, and --seeds makes several: give one",
        ),
    )
