"""A hub id is really downloaded: from a local server that speaks the hub's protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.models import tiny

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "a" * 40


def hub(folder: Path) -> type[BaseHTTPRequestHandler]:
    """Serves ``folder`` as the model `owner/tiny`; `owner/gated` asks for its terms."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            if "owner/gated" in path:
                self.send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body)
            elif path == "/api/models/owner/tiny/revision/main":
                names = [{"rfilename": f.name} for f in sorted(folder.iterdir())]
                told = {"id": "owner/tiny", "modelId": "owner/tiny", "sha": COMMIT}
                self.send(200, json.dumps({**told, "siblings": names}).encode(), {}, body)
            elif path.startswith("/api/models/owner/tiny/tree/"):
                tree = [
                    {"type": "file", "oid": "0" * 40, "size": f.stat().st_size, "path": f.name}
                    for f in sorted(folder.iterdir())
                ]
                self.send(200, json.dumps(tree).encode(), {}, body)
            elif path.startswith(f"/owner/tiny/resolve/{COMMIT}/"):
                data = (folder / path.rsplit("/", 1)[1]).read_bytes()
                headers = {"ETag": f'"{len(data)}-{path[-8:]}"', "X-Repo-Commit": COMMIT}
                self.send(200, data, headers, body)
            else:
                self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

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


def resolve(name: str, endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`resolve(name)` in a process whose hub is the local server and whose caches are new."""
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from harness.cache import Cache\nfrom harness.errors import UserError\n"
        "from harness.models.resolve import resolve\n"
        "try:\n    found = resolve(sys.argv[1], Cache(Path(sys.argv[2])))\n"
        "except UserError as error:\n    sys.exit(str(error))\n"
        "print(found.architecture, found.revision, found.layers)\n"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, "-c", script, name, str(folder / "cache")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_hub_model_is_downloaded_and_named_by_its_commit(endpoint: str, tmp_path: Path) -> None:
    done = resolve("owner/tiny", endpoint, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["llama", COMMIT, "16"]


@pytest.mark.parametrize(
    ("name", "told"), [("owner/gated", "gated"), ("owner/none", "does not exist on the hub")]
)
def test_hub_trouble_is_one_message_with_a_remedy(
    endpoint: str, tmp_path: Path, name: str, told: str
) -> None:
    done = resolve(name, endpoint, tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
