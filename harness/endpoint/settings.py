"""The settings of an endpoint: the mapping of a variant file -> :class:`EndpointSettings`.

A URL may hold a password, and an environment variable holds the key: what is shown and stored is
:attr:`EndpointSettings.shown_url` and :meth:`EndpointSettings.record`, which have neither.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from harness.errors import UserError

_CHAT = "/chat/completions"


class EndpointSettings(BaseModel):
    """Where a model answers, and how it is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    url: SecretStr
    """`http://HOST:PORT`, with `/v1` or another path where the service has one."""
    model: Annotated[str, Field(min_length=1)]
    """The model's name there."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = None
    """The environment variable that holds the key; None sends none."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """Questions that are asked at a time."""
    retries: Annotated[int, Field(ge=0, le=50)] = 6
    """Further tries of a question that found the service busy, failing or out of reach."""
    timeout: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Seconds without a byte after which a try has failed."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Further keys of a request (`stop`, `seed`); null leaves one of ours out."""

    @field_validator("url")
    @classmethod
    def _http(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value().strip())
            _ = parts.port
        except ValueError:
            raise ValueError("is no URL") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        return SecretStr(value.get_secret_value().strip())

    @field_validator("parameters")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted({"model", "messages", "stream", "n"} & value.keys()):
            raise ValueError(f"{', '.join(taken)}: tunebench decides this itself")
        return value

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url.get_secret_value())

    @property
    def shown_url(self) -> str:
        """The URL without a user's name, password and query."""
        parts = self._parts
        return parts._replace(netloc=_host(parts), query="", fragment="").geturl()

    def address(self, path: str = _CHAT) -> str:
        """The URL that is asked; its query is sent, its user's name and password are not."""
        parts = self._parts
        root = parts.path.rstrip("/").removesuffix(_CHAT) or "/v1"
        return parts._replace(netloc=_host(parts), path=root + path, fragment="").geturl()

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, where no proxy leads."""
        host = self._parts.hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    def headers(self) -> dict[str, str]:
        """What authorizes a request: the key, else the URL's user and password.

        Raises:
            UserError: the environment variable that holds the key is not set.
        """
        parts = self._parts
        if self.api_key_env is not None:
            key = os.environ.get(self.api_key_env, "").strip()
            if not key or not key.isascii() or not key.isprintable():
                raise UserError(
                    f"the environment variable {self.api_key_env}, which api_key_env names, holds "
                    f"no key. Set it: export {self.api_key_env}=..."
                )
            return {"Authorization": f"Bearer {key}"}
        if parts.username is None:
            return {}
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def secrets(self) -> list[str]:
        """What no message may repeat, the longest first: services quote keys in their errors."""
        parts = self._parts
        values = [pair.partition("=")[2] for pair in parts.query.split("&")]
        values += [parts.password or "", unquote(parts.password or "")]
        values += [os.environ.get(self.api_key_env or "", "").strip()]
        return sorted((v for v in values if len(v) > 3), key=len, reverse=True)

    def record(self) -> dict[str, Any]:
        """The settings as they are stored."""
        return {"url": self.shown_url, **self.model_dump(mode="json", exclude={"url"})}


def endpoint_settings(values: Mapping[str, Any], where: str) -> EndpointSettings:
    """The settings of the mapping ``values`` that stands in ``where``.

    Raises:
        UserError: a key is unknown or a value wrong; no value is repeated, for it may be a secret.
    """
    try:
        return EndpointSettings.model_validate(values)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, found['loc']))}: {found['msg'].removeprefix('Value error, ')}"
            for found in error.errors(include_input=False, include_url=False)
        )
    allowed = ", ".join(["description", *EndpointSettings.model_fields])
    raise UserError(
        f"endpoint {where}: {mistakes}. Allowed: {allowed}; api_key_env is the name of an "
        "environment variable in capital letters, never the key."
    )


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
