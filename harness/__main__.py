"""`tunebench` (also `python -m harness`): `bench`, which is pytest, and all else.

Exit status (docs/gates.md has it for users): 0 done, 1 a regression or failing check, 2 a user's
mistake (one message, no traceback), 3 an internal error, 130 interrupted; `bench` has pytest's.
Commands import what they need when they run, so that `--help` is quick and never imports mlx.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from harness.cli import data, machine, runs, scoring
from harness.cli.bench import bench_status
from harness.disk.files import refusal
from harness.errors import UserError
from harness.interrupts import FirstInterrupt
from harness.progress import print_message

INTERRUPTED = "tunebench: interrupted; what was there before is as it was"

app = typer.Typer(
    name="tunebench",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"tunebench {version('tunebench')}")
        raise typer.Exit


@app.callback()
def tunebench(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="The version."),
    ] = False,
) -> None:
    """Which adapter variant is better at Text2SQL, by how much, and is the difference real?"""


def bench(
    options: Annotated[
        list[str] | None, typer.Argument(help="Any of pytest's; -h lists them.")
    ] = None,
) -> None:
    """Fine-tune, measure and compare: the bundled suites, with pytest's options and exit status."""
    raise typer.Exit(bench_status(options or []))


def _add(group: typer.Typer, command: Callable[..., None], **settings: Any) -> None:
    """Add a command whose first sentence stands whole in the list of commands."""
    (said, *_) = (inspect.getdoc(command) or "").split("\n\n")
    group.command(short_help=" ".join(said.split()), **settings)(command)


_add(
    app,
    bench,
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    },
)
app.add_typer(data.cache_app, name="cache")
_COMMANDS: tuple[Callable[..., None], ...] = (
    *(data.describe, data.export, data.fetch, machine.doctor, machine.params, machine.plan),
    *(scoring.prompts, scoring.score, runs.compare, runs.report, runs.gate, runs.adapter),
)
for _command in _COMMANDS:
    _add(app, _command)
_add(app, data.import_data, name="import")
_add(app, runs.list_runs, name="list")


def main() -> None:
    """Run the command line; never returns."""
    if sys.argv[1:2] == [bench.__name__]:
        sys.exit(bench_status(sys.argv[2:]))  # pytest answers Ctrl-C, and mistakes, itself
    interrupt = FirstInterrupt()
    try:
        app()
    except UserError as error:
        print_message(f"tunebench: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        interrupt.taken()
        print_message(INTERRUPTED)
        sys.exit(130)
    except SystemExit as end:
        if end.code == 130:  # typer's exit status after Ctrl-C
            interrupt.taken()
            print_message(INTERRUPTED)
        raise
    except Exception as error:
        reason = refusal(error)
        if reason is not None:
            print_message(f"tunebench: {reason}")
            sys.exit(2)
        traceback.print_exc()
        print_message(
            "tunebench: this is a bug in tunebench, please report it with the lines above"
        )
        sys.exit(3)


if __name__ == "__main__":
    main()
