"""A tokenizer's chat template: messages -> text; a template's own errors in one line.

Chat templates are Jinja programs that the models' authors wrote: some refuse a system message,
some want the roles to alternate, some are broken, some write today's date (Llama 3.2's does): for
them it is always :data:`DATE`. `prompts.py` and `tokens.py` choose the messages.
"""

from __future__ import annotations

import datetime
import faulthandler
import math
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import jinja2
import psutil

from harness.errors import UserError

_TEMPLATE_ERRORS = (
    *(jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(MemoryError, RecursionError),
)
"""What a chat template raises: Jinja's own errors, those of its expressions, and mlx-lm's."""


class _Endless(BaseException):
    """The template ran too long. No :class:`Exception`, since Jinja drops those of expressions that
    it computes while it compiles, and computes them again."""


DATE = datetime.date(2024, 7, 26)
"""The day that templates write: a fixed one, so that an adapter is measured on the prompts that it
was trained on. It is the one that Llama's templates fall back to. Part of a text's cache key."""

LIMIT_S = 5.0
"""Processor seconds that rendering one conversation may take."""
LIMIT_BYTES = 1 << 30
"""Memory that it may add to the process (Linux)."""
_GRACE_S = 2
"""Processor seconds after the limit at which the system ends the process: one step of a template,
such as a comparison of nested lists, may take for ever and lets no handler of Python's run."""


@contextmanager
def _limited() -> Iterator[None]:
    """A template is a stranger's program: end one that loops, or that fills the memory.

    Raises:
        _Endless, MemoryError: in the block.
    """

    def stop(*_: object) -> None:
        raise _Endless(f"it ran for more than {LIMIT_S:g} s")

    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone, in which the model process renders
        return
    before = signal.signal(signal.SIGPROF, stop)
    faulthandler.register(signal.SIGXCPU, file=2, all_threads=False, chain=True)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        with ExitStack() as lowered:
            last_s = math.ceil(time.process_time() + LIMIT_S) + _GRACE_S
            lowered.enter_context(_at_most(resource.RLIMIT_CPU, last_s))
            if sys.platform == "linux":
                most = psutil.Process().memory_info().vms + LIMIT_BYTES
                lowered.enter_context(_at_most(resource.RLIMIT_AS, most))
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        faulthandler.unregister(signal.SIGXCPU)


@contextmanager
def _at_most(limit: int, value: int) -> Iterator[None]:
    """Lower a limit of the process."""
    soft, hard = resource.getrlimit(limit)
    if soft == resource.RLIM_INFINITY or value < soft:
        resource.setrlimit(limit, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(limit, (soft, hard))


class _FixedDay(datetime.datetime):
    """A clock that always shows noon of :data:`DATE`."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _FixedDay:
        """That moment."""
        return cls(DATE.year, DATE.month, DATE.day, 12, tzinfo=tz)


@contextmanager
def _on_the_fixed_day() -> Iterator[None]:
    """Let templates' `strftime_now` show :data:`DATE`. Transformers takes no other function for it
    from a caller (it replaces what is no plain data), so its clock is exchanged meanwhile."""
    from transformers.utils import chat_template_utils

    clock = chat_template_utils.datetime
    chat_template_utils.datetime = _FixedDay
    try:
        yield
    finally:
        chat_template_utils.datetime = clock


def has_chat_template(tokenizer: Any) -> bool:
    """Whether ``tokenizer`` (mlx-lm's wrapper or Hugging Face's) can render a conversation."""
    has = getattr(tokenizer, "has_chat_template", None)
    return bool(getattr(tokenizer, "chat_template", None) if has is None else has)


def apply_template(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], where: str, advice: str, **options: Any
) -> Any:
    """``messages`` through the chat template, as ``tokenizer.apply_chat_template`` returns them.

    Args:
        tokenizer: one with a chat template.
        messages: the conversation.
        where: begins the error: what was to be rendered.
        advice: ends the error: what the user can do.
        options: passed on to ``apply_chat_template``, and ``date_string`` where the template
            reads it.

    Raises:
        UserError: the template refuses the messages, or is broken; its own words are quoted.
    """
    if "date_string" in str(getattr(tokenizer, "chat_template", None)):
        # mlx-lm's own renderers (deepseek_v32.py) refuse what they do not know.
        options = {"date_string": f"{DATE:%d %b %Y}", **options}
    try:
        with _on_the_fixed_day(), _limited():
            return tokenizer.apply_chat_template(list(messages), **options)
    except (*_TEMPLATE_ERRORS, _Endless) as error:
        roles = ", ".join(str(message["role"]) for message in messages)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        line = getattr(error, "lineno", None)
        place = "" if line is None else f" (line {line} of the template)"
        raise UserError(
            f"{where}: the model's chat template refuses a conversation of {roles}: "
            f"{reason}{place}. {advice}"
        ) from error


def render_conversation(tokenizer: Any, messages: list[dict[str, str]], answered: bool) -> str:
    """``messages`` as text for prompt style `chat`; ``answered``: the last one is the answer.

    Raises:
        UserError: as :func:`apply_template`.
    """
    rendered = apply_template(
        tokenizer,
        messages,
        "prompt style 'chat'",
        "Use --prompt-style=dialect or sql, another model, or correct its chat_template.",
        tokenize=False,
        add_generation_prompt=not answered,
        enable_thinking=False,
    )
    return str(rendered)
