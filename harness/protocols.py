"""The names and fixed sizes of the definitions that results are measured by.

A definition keeps its name as long as it gives the same numbers: who changes what is measured
raises the version here, and every stored record, report and comparison follows. The code of a
definition is elsewhere (``measure/``, ``sql/grade/``); a prompt style carries its own version
(``data/prompts.py``). Imports nothing of the project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOSS = "loss@1"
"""Loss and perplexity: ``measure/loss.py``."""

MEMORY = "memory@1"
"""Memory by phase: ``measure/memory.py``."""

GENERATION = "generation@2"
"""Greedy answers: ``measure/generate.py``."""

LINE_TOKENS = 128
"""Most new tokens of an answer that is one line, as in the dialect."""

TEXT_TOKENS = 256
"""Most new tokens of any other answer."""

EXECUTION = "execution@2"
"""Reading, running and grading answers: ``sql/grade/score.py``."""

THROUGHPUT = "throughput@2"
"""Speed trials: ``measure/speed.py``, in the rounds of ``pipeline/interleaved_speed.py``."""

NOT_MEASURED = "not measured"
"""In the place of a protocol: of a system elsewhere there are answers and nothing else."""

GATES = "gates@2"
"""Verdicts of a checkpoint against its baseline: ``compare/gates.py``."""

COMPARISON = "comparison@2"
"""Tests of differences and intervals of rates: ``stats/``, ``compare/quality.py``."""

BATCH_ROWS = 16
"""Rows that are computed together: in a pass of the loss, while answering, in a batched trial."""

HARDENED_COPIES = 8
"""Perturbed copies of the tables that ``ex_hardened`` of a pytest run executes answers on."""

SPEED_ROUNDS = 5
"""Timed rounds, after a warm-up of each model."""

TINY_WIDTH = 64
"""The width of `tiny`: no model that is used is as narrow."""

QUESTION_TOKENS = 32
"""Tokens generated in the timed trial of a students question, the stop token ignored."""


@dataclass(frozen=True)
class SpeedTrials:
    """The size of speed trials: on a GPU that of `mlx_lm.benchmark`'s usual ones, less where they
    would take minutes (a CPU) or mean nothing (`tiny`, and what is as narrow)."""

    prompt_tokens: int = 128
    new_tokens: int = 32
    """Tokens generated, the stop token ignored."""
    least_s: float = 0.0
    """A trial is repeated until it took as long."""
    pause_s: float = 0.0
    """How long the machine rests before each trial."""

    @classmethod
    def of(cls, width: int | None, backend: str, pause_s: float = 0.0) -> SpeedTrials:
        """The trials of a model of that width (None: not known) on a backend of MLX's."""
        if width is not None and width <= TINY_WIDTH:
            return cls(64, 32, pause_s=pause_s)
        if backend == "cpu":
            return cls(pause_s=pause_s)
        return cls(512, 128, 1.0, pause_s)

    @property
    def protocol(self) -> str:
        """As `results.json` names them."""
        parts = [
            f"{SPEED_ROUNDS} interleaved rounds",
            f"prompt {self.prompt_tokens}",
            f"{self.new_tokens} new tokens",
            f"batch {BATCH_ROWS}",
            *([f"repeated to {self.least_s:g} s"] if self.least_s else []),
            *([f"{self.pause_s:g} s of rest before each"] if self.pause_s else []),
        ]
        return f"{THROUGHPUT} ({', '.join(parts)})"


def usual_tokens(one_line: bool) -> int:
    """Most new tokens of an answer, where no option says otherwise."""
    return LINE_TOKENS if one_line else TEXT_TOKENS


def answers_protocol(one_line: bool = True, max_new_tokens: int | None = None) -> str:
    """Answering and grading together, as `results.json` names them; a limit of None, or the usual
    one, is not named."""
    usual = max_new_tokens in (None, usual_tokens(one_line))
    limit = "" if usual else f", at most {max_new_tokens} new tokens"
    return f"{EXECUTION}+{GENERATION} (hardened K={HARDENED_COPIES}{limit})"


def grading_protocol(execution: str) -> str:
    """Of the name of answers' protocol what grades them, by which any two systems are compared:
    `execution@2+generation@2 (hardened K=8) (dialect@1)` -> `execution@2 (hardened K=8)`."""
    name, _, rest = execution.partition(" ")
    copies = re.search(r"hardened K=\d+", rest)
    return f"{name.partition('+')[0]} ({copies[0] if copies else 'hardened K=0'})"


def comparable_answers(execution: str) -> str:
    """The name of :func:`answers_protocol` with what it is compared by: in the dialect generation@2
    is generation@1."""
    return (
        execution.replace("generation@1 ", "generation@2 ")
        if "(dialect@" in execution
        else execution
    )
