"""`python -m harness` (also `tunebench`): the commands that need no pytest session.

Exit status: 0 done, 1 a regression or failing check, 2 a user's mistake (one message, no
traceback), 3 an internal error, 130 interrupted. Commands import what they need when they run, so
that `--help` is quick and never imports mlx.
"""

from __future__ import annotations

import sys
import traceback

import typer

from harness.cli import data, machine, runs, scoring
from harness.disk.files import refusal
from harness.errors import UserError
from harness.interrupts import FirstInterrupt
from harness.progress import print_message

INTERRUPTED = "tunebench: interrupted; what was there before is as it was"

app = typer.Typer(
    name="tunebench",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Which adapter variant is better at Text2SQL? The benchmark itself is `pytest suites/`.",
)
app.command()(data.describe)
app.command()(data.export)
app.command()(data.fetch)
app.add_typer(data.cache_app, name="cache")
app.command()(machine.doctor)
app.command()(machine.params)
app.command()(machine.plan)
app.command()(scoring.score)
app.command()(runs.compare)
app.command()(runs.report)
app.command()(runs.gate)


def main() -> None:
    """Run the command line; never returns."""
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
