"""The options of `pytest suites/`: one field of a frozen record each, with its flag and help.

``declare`` adds them to pytest's parser, ``read`` turns pytest's configuration into
:class:`Options`. A wrong value is pytest's own usage error, one line and exit status 4. Nothing
here looks at files; `pipeline.session` checks what the values name.
"""
# ruff: noqa: RUF009 - what the calls below give are fields, which `dataclass` replaces.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from harness.disk.files import user_path

Checkpoints = tuple[int, ...] | Literal["all"] | None
"""Iterations of saved checkpoints to evaluate too."""


def parse_names(raw: str) -> tuple[str, ...]:
    """The names of a comma list of variants."""
    names = tuple(name.strip() for name in raw.split(","))
    if not all(names):
        raise pytest.UsageError("--variant got an empty name; try --variant=lora --variant=qlora")
    return names


def parse_integer(option: str, least: int) -> Callable[[str], int]:
    """A function that reads a whole number of ``least`` or more; ``option`` is for its message."""

    def parse(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            value = least - 1
        if value < least:
            raise pytest.UsageError(f"{option} {raw!r} is not a whole number of {least} or more")
        return value

    return parse


def parse_seconds(raw: str) -> float:
    """A time of `--trial-pause`, at most an hour."""
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 3600.0:
        raise pytest.UsageError(f"--trial-pause {raw!r} is not a number of seconds from 0 to 3600")
    return value


def parse_seed(raw: str) -> int:
    """One seed."""
    if "," in raw:
        raise pytest.UsageError(f"--seed {raw!r} is one seed; several are --seeds {raw}")
    return parse_integer("--seed", 0)(raw)


def parse_seeds(raw: str) -> tuple[int, ...]:
    """A comma list of different seeds."""
    seeds = tuple(map(parse_integer("--seeds", 0), raw.split(",")))
    if len(set(seeds)) != len(seeds):
        raise pytest.UsageError(f"--seeds names a seed twice: {', '.join(map(str, seeds))}")
    return seeds


def parse_change(option: str, form: str, example: str) -> Callable[[str], tuple[str, str]]:
    """A function that reads one ``KEY=…`` of ``option``; the rest is for its message."""

    def parse(raw: str) -> tuple[str, str]:
        key, equals, value = raw.partition("=")
        if not equals or not key.strip() or (option == "--sweep" and not value.strip()):
            raise pytest.UsageError(f"{option} {raw!r} is not {form}; try {option} {example}")
        if key.strip() == "seed":
            own = "--seeds" if option == "--sweep" else "--seed"
            raise pytest.UsageError(
                f"{option} {raw}: the seed has an option of its own: {own} {value}"
            )
        return key.strip(), value

    return parse


def parse_checkpoints(raw: str) -> Checkpoints:
    """``all`` or a comma list of iterations."""
    return "all" if raw == "all" else tuple(map(parse_integer("--checkpoints", 1), raw.split(",")))


def parse_adapter(raw: str) -> tuple[str | None, Path]:
    """``[NAME=]DIR``: the name, or None, and the folder; NAME holds no ``/``."""
    name, equals, folder = raw.partition("=")
    if not equals or "/" in name:
        name, folder = "", raw
    if not folder.strip() or (equals and not name.strip() and folder != raw):
        raise pytest.UsageError(f"--adapter-path {raw!r} is not DIR or NAME=DIR")
    return name.strip() or None, user_path(folder)


def parse_given(option: str) -> Callable[[str], str]:
    """A function that refuses an empty text; ``option`` is for its message."""

    def parse(raw: str) -> str:
        if not raw.strip():
            raise pytest.UsageError(f"{option} got an empty name; leave it out for its default")
        return raw

    return parse


def parse_run_name(raw: str) -> str:
    """The name of a folder."""
    if "/" in raw or raw in ("", ".", ".."):
        raise pytest.UsageError(
            f"--run-name {raw!r} is not a folder name: use letters, digits, - and _"
        )
    return raw


def _value(
    flag: str,
    metavar: str,
    help: str,
    parse: Callable[[str], Any] = str,
    default: Any = None,
    **more: Any,
) -> Any:
    """A field that ``flag`` sets to what ``parse`` makes of its text; ``more`` is argparse's."""
    settings = {"metavar": metavar, "help": help, "type": parse, "default": default, **more}
    return field(default=default, metadata={flag: settings})


def _switch(flag: str, help: str, default: bool = False) -> Any:
    """A field that ``flag`` alone turns into the opposite of its default."""
    action = "store_false" if default else "store_true"
    return field(default=default, metadata={flag: {"action": action, "help": help}})


@dataclass(frozen=True)
class Options:
    """The options of one invocation; DESIGN §3 has the meaning of each field."""

    variants: tuple[str, ...] = _value(
        "--variant",
        "NAME|FILE",
        "adapter variant: a name in fixtures/variants, a YAML file, a comma list or `all`; "
        "repeatable (default: lora, qlora; base with --adapter-path)",
        parse_names,
        action="append",
    )
    model: str = _value(
        "--model",
        "NAME|ID|DIR",
        "base model: smollm2, tiny, a hub id or a directory (default: what an adapter or a variant "
        "file of yours names, else smollm2)",
        parse_given("--model"),
    )
    dataset: str = _value(
        "--dataset",
        "NAME|DIR",
        "mini, wikisql, a directory in WikiSQL's or mlx-lm's layout, or a Hugging Face id "
        "(default: the folder that an adapter or a variant file of yours names, else mini)",
        parse_given("--dataset"),
    )
    prompt_style: str = _value(
        "--prompt-style",
        "NAME",
        "how table, question and SQL become text: dialect, sql, chat (default: %(default)s)",
        default="dialect",
    )
    limit: int | None = _value(
        "--limit",
        "N",
        "test loss, generation and execution on the first N of a seeded, table-stratified "
        "shuffle (default: all)",
        parse_integer("--limit", 1),
    )
    max_new_tokens: int | None = _value(
        "--max-new-tokens",
        "N",
        "most tokens of an answer (default: 128 in the dialect style, 256 in the others and for "
        "data without tables)",
        parse_integer("--max-new-tokens", 1),
    )
    overrides: dict[str, str] = _value(
        "--set",
        "KEY=VALUE",
        "override a variant field, e.g. iters=40 or lora_parameters.rank=16; repeatable",
        parse_change("--set", "KEY=VALUE", "iters=40"),
        action="append",
    )
    sweeps: dict[str, str] = _value(
        "--sweep",
        "KEY=V1,V2",
        "a variant for each value, named by it: lora_parameters.rank=4,8 makes lora-rank4 and "
        "lora-rank8; repeatable (all combinations)",
        parse_change("--sweep", "KEY=V1,V2", "lora_parameters.rank=4,8"),
        action="append",
    )
    adapters: tuple[tuple[str | None, Path], ...] = _value(
        "--adapter-path",
        "[NAME=]DIR",
        "evaluate this adapter (mlx-lm's or PEFT's), beside the base unless variants are named; "
        "one path with one adapter variant stands in its place; repeatable",
        parse_adapter,
        action="append",
    )
    checkpoints: Checkpoints = _value(
        "--checkpoints",
        "all|N,M",
        "also evaluate saved checkpoints (default: only the last)",
        parse_checkpoints,
    )
    seed: int | None = _value("--seed", "N", "random seed of training (default: 0)", parse_seed)
    several_seeds: tuple[int, ...] | None = _value(
        "--seeds",
        "N,M,...",
        "one run folder per seed (NAME-seedN) and a summary with the spread",
        parse_seeds,
    )
    baseline: Path | None = _value(
        "--baseline", "FILE", "gate against this stored results.json", user_path
    )
    gates: Path | None = _value(
        "--gates", "FILE", "gate thresholds (default: fixtures/gates.toml)", user_path
    )
    bless: bool = _switch("--bless", "make this run the baseline, keeping the old one")
    results_dir: Path = _value(
        "--results-dir",
        "DIR",
        "where runs are written (default: %(default)s)",
        user_path,
        Path("results/runs"),
    )
    run_name: str | None = _value(
        "--run-name",
        "NAME",
        "the run's folder; an existing one is refused (default: made from time and variants)",
        parse_run_name,
    )
    trial_pause: float = _value(
        "--trial-pause",
        "SECONDS",
        "let the machine rest before each speed trial, so that it stays cool (default: 0)",
        parse_seconds,
        0.0,
    )
    remeasure: bool = _switch("--remeasure", "take timings again though they are cached")
    keep_fused: bool = _switch("--keep-fused", "keep the fused models (default: deleted)")
    trust_remote_code: bool = _switch("--trust-remote-code", "let a hub model run its own code")
    use_cache: bool = _switch("--no-cache", "neither read nor write the cache", default=True)
    strict: bool = False
    """Whether an inconclusive gate fails: pytest's own flag, see :func:`declare`."""

    @property
    def many_seeds(self) -> bool:
        """Whether --seeds was given, which makes one run per seed."""
        return self.several_seeds is not None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of training; the first one also draws the samples (--limit, fuse parity)."""
        return self.several_seeds or (self.seed or 0,)

    @property
    def seed_given(self) -> bool:
        """Whether a seed was named; else a variant file's own ``seed`` holds."""
        return self.many_seeds or self.seed is not None


def declare(parser: pytest.Parser) -> None:
    """Add tunebench's options to pytest's ``parser``.

    ``--strict`` is pytest's own flag (pytest 9 turns on its strict mode with it, and a second
    option of that name is refused); tunebench reads it: see :func:`read`.
    """
    group = parser.getgroup("tunebench", "tunebench: which adapter variant is better at Text2SQL")
    for one in fields(Options):
        for flag, settings in one.metadata.items():
            group.addoption(flag, dest=one.name, **settings)


def read(config: pytest.Config) -> Options:
    """The :class:`Options` of a pytest ``config``.

    Raises:
        pytest.UsageError: a contradiction between options.
    """
    _refuse_repeated([str(argument) for argument in config.invocation_params.args])
    given = {one.name: config.getoption(one.name) for one in fields(Options) if one.metadata}
    given |= {name: given[name] or "" for name in ("model", "dataset")}
    given["adapters"] = tuple(given["adapters"] or ())
    default = [] if given["adapters"] else [("lora", "qlora")]
    names = [name for names in given["variants"] or default for name in names]
    given["variants"] = tuple(dict.fromkeys(names))
    given["overrides"] = dict(given["overrides"] or ())
    given["sweeps"] = _named_once(given["sweeps"] or ())
    # The flag alone: a project whose pytest.ini says `strict = true` did not ask for strict gates.
    options = Options(**given, strict=bool(config.getoption("strict", default=False)))
    for message, applies in _contradictions(options).items():
        if applies:
            raise pytest.UsageError(message)
    return options


def _named_once(sweeps: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The values of each --sweep by key."""
    for key, times in Counter(key for key, _ in sweeps).items():
        if times > 1:
            raise pytest.UsageError(f"--sweep {key} was given {times} times: list all its values")
    return dict(sweeps)


def _refuse_repeated(arguments: Sequence[str]) -> None:
    """Refuse a second value of an option that takes one: argparse would silently take the last."""
    every = {flag: known for one in fields(Options) for flag, known in one.metadata.items()}
    typed = Counter(argument.partition("=")[0] for argument in arguments)
    for flag, known in every.items():
        if typed[flag] > 1 and "metavar" in known and known.get("action") != "append":
            raise pytest.UsageError(f"{flag} was given {typed[flag]} times: a run has one")


def _contradictions(options: Options) -> dict[str, bool]:
    """Options that exclude one another: the message, and whether they were given together."""
    many = options.many_seeds
    both = ", ".join(options.overrides.keys() & options.sweeps.keys())
    return {
        f"--set and --sweep both give {both}: leave one out": bool(both),
        "--seed and --seeds contradict one another: give one of them": (
            many and options.seed is not None
        ),
        "--adapter-path gives adapters of one seed each, so --seeds has no meaning with it": (
            many and bool(options.adapters)
        ),
        "--bless needs --baseline FILE: the baseline that this run replaces": (
            options.bless and options.baseline is None
        ),
        "--gates FILE needs --baseline FILE: without one nothing is gated": (
            options.gates is not None and options.baseline is None
        ),
        "--strict fails gates that decide nothing, so it needs --baseline FILE": (
            options.strict and options.baseline is None
        ),
        "--bless makes one run the baseline, and --seeds makes several: give one": (
            options.bless and many
        ),
    }
