"""One question to an endpoint: messages -> :class:`Reply`, tried again while the service is busy.

`POST /v1/chat/completions` with temperature 0, as OpenAI documents it and others repeat it. What
passes by itself (busy, failing, out of reach) is tried again, after 1, 2, 4, ... seconds or as long
as the service asks for; all else is one :class:`UserError` that says what to do. No redirect is
followed: the key would go with it.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message as Headers
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from harness.endpoint.settings import EndpointSettings
from harness.errors import UserError, one_line
from harness.schema.rows import Finish

Message = Mapping[str, Any]
"""A message of a conversation: `role` and `content`."""

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Statuses that say that the service is busy or failing, not that the question is wrong."""
_LONGEST_WAIT_S = 60.0
_LONGEST_ASKED_S = 600.0
"""Of a service's own `Retry-After`."""
_MOST_BYTES = 32 * 10**6
_PROBE = ({"role": "user", "content": "Answer with the number 1."},)
_PROBE_TOKENS = 16
_SHOWN_MODELS = 12


@dataclass(frozen=True)
class Reply:
    """An answer and how it ended."""

    text: str
    tokens: int
    """Tokens generated as the service counts them; 0 where it does not say."""
    finish: Finish


class _Passing(Exception):
    """A failure that may pass by itself; ``after_s`` is when the service wants to be asked."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: the status is then an error like any other."""


class Endpoint:
    """A model behind a URL, called ``name`` in messages; its file is what a user corrects.

    Raises:
        UserError: the environment variable of its key is not set.
    """

    def __init__(self, name: str, settings: EndpointSettings, first_wait_s: float = 1.0) -> None:
        self.name = name
        self.settings = settings
        self._first_wait_s = first_wait_s
        self._headers = {"Content-Type": "application/json", **settings.headers()}
        self.answered: dict[str, list[Reply]] = {}
        """By what was asked: the answers that this command has had, for each of its seeds."""
        proxies = [ProxyHandler({})] if settings.is_local else []
        self._open = build_opener(_NoRedirect, *proxies).open

    @property
    def title(self) -> str:
        """The endpoint in a sentence."""
        return f"endpoint {self.name!r} ({self.settings.model} at {self.settings.shown_url})"

    def check(self) -> None:
        """Ask a small question before anything else is begun.

        Raises:
            UserError: it is not answered.
        """
        self._tried(_PROBE, _PROBE_TOKENS, first=True)

    def reply(self, messages: Sequence[Message], max_tokens: int) -> Reply:
        """The answer to a conversation.

        Raises:
            UserError: there is none, or none after all tries.
        """
        return self._tried(messages, max_tokens)

    def _tried(self, messages: Sequence[Message], max_tokens: int, first: bool = False) -> Reply:
        body = {"messages": [*messages], "temperature": 0, "max_tokens": max_tokens}
        body |= {"model": self.settings.model, **self.settings.parameters}
        data = json.dumps({k: v for k, v in body.items() if v is not None}).encode()
        tries = self.settings.retries + 1
        for done in range(1, tries + 1):
            try:
                return self._read(self._post(data, first))
            except _Passing as failure:
                if done == tries:
                    times = f"{tries} times" if tries > 1 else "once"
                    self._fail(f"was asked {times}: {failure}", "Try later, or raise retries")
                wait = min(_LONGEST_WAIT_S, self._first_wait_s * 2 ** (done - 1))
                time.sleep(max(wait * random.uniform(0.75, 1.25), failure.after_s))
        raise AssertionError("the last try returns or raises")

    def _post(self, data: bytes, first: bool) -> bytes:
        """The body of what the service answers to ``data``."""
        url = self.settings.address()
        try:
            return self._sent(Request(url, data, self._headers, method="POST"))
        except HTTPError as error:
            said = self._said(error)
            if error.code in _PASSING:
                after_s = min(_LONGEST_ASKED_S, _seconds(error.headers))
                raise _Passing(f"it answered {error.code}{said}", after_s) from None
            self._explain(error, said)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            shown = self._clean(one_line(reason) if isinstance(reason, Exception) else f"{reason}")
            known = isinstance(reason, ConnectionRefusedError | socket.gaierror) and first
            if known or isinstance(reason, ssl.SSLError | http.client.InvalidURL):
                self._fail(
                    f"cannot be reached: {shown}",
                    "Start it (mlx_lm.server --model M --port 8080; ollama serve; LM Studio's "
                    "server), or correct url",
                )
            raise _Passing(f"no answer ({shown})") from None

    def _sent(self, request: Request) -> bytes:
        with self._open(request, timeout=self.settings.timeout) as response:
            found: bytes = response.read(_MOST_BYTES)
            if response.length:
                raise http.client.IncompleteRead(found, response.length)
        return found

    def _read(self, found: bytes) -> Reply:
        try:
            value = json.loads(found)
            choice = value["choices"][0]
            content = choice["message"].get("content")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            url = self.settings.address()
            self._fail(f"sent no chat completion from {_bare(url)}", "Correct url")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = [part.get("text") for part in parts if isinstance(part, dict)]
        text = "".join(text for text in texts if isinstance(text, str))
        usage = value.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        return Reply(
            text=text.encode("utf-8", "replace").decode("utf-8"),  # half of a surrogate pair
            tokens=tokens if isinstance(tokens, int) and tokens > 0 else 0,
            finish="length" if choice.get("finish_reason") == "length" else "stop",
        )

    def _explain(self, error: HTTPError, said: str) -> NoReturn:
        """Fail with what a status means and what to do about it."""
        status, variable = error.code, self.settings.api_key_env
        if status in (401, 403):
            remedy = (
                f"Correct the key: export {variable}=..."
                if variable
                else "Give it a key: write api_key_env: NAME, and export NAME=..."
            )
        elif 300 <= status < 400:
            said = f": it leads to {_bare(self._clean(error.headers.get('Location') or ''))}"
            remedy = "Write that url"
        elif status in (400, 404, 422) and (names := self._models()) is not None:
            known = self.settings.model in names
            listed = ", ".join(names[:_SHOWN_MODELS]) + (", ..." if names[_SHOWN_MODELS:] else "")
            remedy = f"Correct model; it has {listed or 'none'}"
            if known:
                remedy = "Change what is asked: parameters: {NAME: VALUE}, null leaves a key out"
        elif status in (404, 405):
            remedy = f"Correct url, or model: asked was {_bare(self.settings.address())}"
        else:
            remedy = "Change what is asked: parameters: {NAME: VALUE}, null leaves a key out"
        self._fail(f"answered {status}{said}", remedy)

    def _models(self) -> list[str] | None:
        """The names of the models there; None where the service does not tell."""
        try:
            found = self._sent(Request(self.settings.address("/models"), headers=self._headers))
            return sorted(self._clean(str(one["id"])) for one in json.loads(found)["data"])
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return None

    def _said(self, error: HTTPError) -> str:
        """The service's own words, on one line and without secrets."""
        try:
            text = error.read(10_000).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            text = ""
        try:
            value = json.loads(text)
            inner = value.get("error", value)
            text = inner.get("message", text) if isinstance(inner, dict) else str(inner)
        except (ValueError, RecursionError, AttributeError):
            text = "" if "<html" in text.lower() else text
        shown = self._clean(str(text))[:200]
        return f": {shown}" if shown else f" ({self._clean(str(error.reason))[:60]})"

    def _clean(self, text: str) -> str:
        for secret in self.settings.secrets():
            text = text.replace(secret, "***")
        return " ".join(text.split()).rstrip(".")

    def _fail(self, what: str, remedy: str) -> NoReturn:
        raise UserError(f"{self.title} {what}. {remedy}.")


def _bare(url: str) -> str:
    """A URL without a user, password and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _seconds(headers: Headers) -> float:
    """`Retry-After` in seconds; 0 without one, or where it is a date."""
    try:
        return max(0.0, float(headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0
