"""A hub id is really downloaded: from a local server that speaks the hub's protocol."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.models.embedded import tiny

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "a" * 40
BREAK_BYTES = 3 << 16

asked: list[tuple[str, str, str | None]] = []
"""Model, file and Range of every download."""
mended: set[str] = set()
"""Models whose downloads no longer break."""


def hub(folder: Path) -> type[BaseHTTPRequestHandler]:
    """Serves ``folder`` as the model `owner/tiny`; every other name is trouble of one kind."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            found = re.match(r"(?:/api/models)?/owner/(\w+)/(\w+)/", path)
            name, action = (found[1], found[2]) if found else ("none", "")
            if name == "gated":
                self.send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body)
            elif name == "down":
                self.send(500, b"{}", {}, body)
            elif name not in ("tiny", "lacking", "unweighted", "dropping", "stuck"):
                self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            elif action in ("revision", "tree") and not path.endswith(("/main", COMMIT)):
                self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
            elif action == "revision":
                names = [{"rfilename": f.name} for f in self.listed(name)]
                answers = {"id": f"owner/{name}", "modelId": f"owner/{name}", "sha": COMMIT}
                self.send(200, json.dumps({**answers, "siblings": names}).encode(), {}, body)
            elif action == "tree":
                tree = [
                    {"type": "file", "oid": "0" * 40, "size": f.stat().st_size, "path": f.name}
                    for f in self.listed(name)
                ]
                self.send(200, json.dumps(tree).encode(), {}, body)
            elif name == "lacking" and path.endswith(".safetensors"):
                self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)
            else:
                data = (folder / path.rsplit("/", 1)[1]).read_bytes()
                headers = {"ETag": f'"{len(data)}-{path[-8:]}"', "X-Repo-Commit": COMMIT}
                if body:
                    asked.append((name, path.rsplit("/", 1)[1], self.headers.get("Range")))
                breaks = name in ("dropping", "stuck") and path.endswith(".safetensors")
                if body and breaks and name not in mended:
                    self.drop(data, headers, 0 if name == "stuck" else BREAK_BYTES)
                else:
                    self.send(200, data, headers, body)

        def drop(self, data: bytes, headers: dict[str, str], after: int) -> None:
            """Hang up after some bytes of what was asked for."""
            ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(ranged[1]) if ranged else 0
            self.send_response(206 if ranged else 200)
            if ranged:
                headers |= {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            for name, value in {**headers, "Content-Length": str(len(data) - start)}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[start : start + after])
            self.wfile.flush()
            self.close_connection = True

        def listed(self, name: str) -> list[Path]:
            whole = sorted(folder.iterdir())
            return [f for f in whole if name != "unweighted" or f.suffix != ".safetensors"]

        def send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Hub


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    tiny.write(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), hub(folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


SCRIPT = """
import json, sys, time
from pathlib import Path
from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.resolve import resolve
time.sleep = lambda seconds: None  # huggingface_hub waits a second before it tries again
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 1 << 16  # what it keeps of a broken connection: whole ones of 10 MB
answers = {}
for name in sys.argv[2:]:
    try:
        found = resolve(name, Cache(Path(sys.argv[1])))
        answers[name] = [found.architecture, found.revision, found.layers]
    except UserError as error:
        answers[name] = str(error)
print(json.dumps(answers))
"""


def resolve(folder: Path, endpoint: str, *names: str, **settings: str) -> dict[str, Any]:
    """What `resolve` gives or says of each name, in a process whose hub is the local server."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "NO_PROXY": "127.0.0.1",
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder / "cache"), *names],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


TROUBLE = {
    "owner/gated": "is gated. Accept its terms on its page, then run: hf auth login",
    "owner/none": "does not exist on the hub, or is private (then run: hf auth login)",
    "owner/tiny@nothing": "has no revision 'nothing'",
    "owner/lacking": "lacks a file that it lists",
    "owner/unweighted": "has no model*.safetensors",
    "owner/down": "cannot be had: the hub answered 500. Try again later",
}


@pytest.fixture(scope="module")
def answers(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return resolve(tmp_path_factory.mktemp("hub"), endpoint, "owner/tiny", *TROUBLE)


def test_a_hub_model_is_downloaded_and_named_by_its_commit(answers: dict[str, Any]) -> None:
    assert answers["owner/tiny"] == ["llama", COMMIT, 16]


@pytest.mark.parametrize("name", list(TROUBLE))
def test_hub_trouble_is_one_message_with_a_remedy(answers: dict[str, Any], name: str) -> None:
    assert TROUBLE[name] in answers[name]
    assert "\n" not in answers[name]


@pytest.mark.slow
def test_offline_a_model_in_the_cache_is_used_and_another_says_what_to_do(
    endpoint: str, tmp_path: Path
) -> None:
    resolve(tmp_path, endpoint, "owner/tiny")
    offline = resolve(tmp_path, endpoint, "owner/tiny", "owner/other", HF_HUB_OFFLINE="1")
    assert offline["owner/tiny"] == ["llama", COMMIT, 16]
    assert "is not in the local cache, and HF_HUB_OFFLINE is set" in offline["owner/other"]


def test_a_hub_cache_that_cannot_be_written_is_not_mistaken_for_the_network(
    endpoint: str, tmp_path: Path
) -> None:
    (tmp_path / "hub").write_text("a file where the folder should be")
    text = resolve(tmp_path, endpoint, "owner/tiny")["owner/tiny"]
    assert "cannot be written to the hub's cache" in text
    assert "set HF_HOME" in text


def test_a_download_that_breaks_is_taken_up_where_it_broke(endpoint: str, tmp_path: Path) -> None:
    size = (tiny_folder(tmp_path) / "model.safetensors").stat().st_size
    assert size > 2 * BREAK_BYTES
    answers = resolve(tmp_path, endpoint, "owner/dropping")
    assert answers["owner/dropping"] == ["llama", COMMIT, 16]
    ranges = [r for name, file, r in asked if (name, file) == ("dropping", "model.safetensors")]
    assert ranges == [None, *(f"bytes={at}-" for at in range(BREAK_BYTES, size, BREAK_BYTES))]


@pytest.mark.slow
def test_one_that_breaks_for_good_says_what_is_kept_and_goes_on_later(
    endpoint: str, tmp_path: Path
) -> None:
    text = resolve(tmp_path, endpoint, "owner/stuck")["owner/stuck"]
    assert text.startswith("model 'owner/stuck' was cut off during the download (")
    assert "Run it again: files that are whole are kept" in text
    assert "\n" not in text
    mended.add("stuck")
    before = len(asked)
    assert resolve(tmp_path, endpoint, "owner/stuck")["owner/stuck"] == ["llama", COMMIT, 16]
    again = [file for name, file, _ in asked[before:]]
    assert again.count("model.safetensors") == 1
    assert len(again) < len(list(tiny_folder(tmp_path).iterdir()))


def tiny_folder(folder: Path) -> Path:
    """What the server serves."""
    if not (folder / "tiny").exists():
        tiny.write(folder / "tiny")
    return folder / "tiny"
