"""What is published tells no machine's name, user's name, absolute path or password."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from harness.bundled import PROJECT_ROOT
from harness.data.sources.download import Source, download
from harness.disk.files import shown_argument, shown_path, without_password
from harness.errors import UserError
from harness.models.device import measured_at
from harness.pipeline.adapter_path import AdapterSource, is_published
from harness.schema.stage_results import MeasuredAt


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user who works in /srv/alice/project."""
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))
    monkeypatch.setattr(Path, "cwd", lambda: Path("/srv/alice/project"))
    return Path("/home/alice")


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("suites/", "suites/"),
        ("--variant=lora,qlora", "--variant=lora,qlora"),
        ("--adapter-path=/home/alice/ckpt", "--adapter-path=~/ckpt"),
        ("--adapter-path=mine=/data/alice/ckpt", "--adapter-path=mine=…/ckpt"),
        ("/srv/alice/project/suites/test_loss.py", "suites/test_loss.py"),
        ("--variant=/data/alice/a.yaml,/srv/alice/project/b.yaml", "--variant=…/a.yaml,b.yaml"),
        ("--set=resume_adapter_file=/home/alice/a", "--set=resume_adapter_file=~/a"),
        ("--model=mlx-community/Mistral-7B", "--model=mlx-community/Mistral-7B"),
        ("https://alice:secret@host/a", "https://host/a"),
        ("/", "…/"),
    ],
)
def test_a_command_line_shows_no_absolute_path(alice: Path, argument: str, shown: str) -> None:
    assert shown_argument(argument) == shown


def test_a_local_run_keeps_the_adapter_s_path_and_a_published_one_does_not(alice: Path) -> None:
    elsewhere = AdapterSource(Path("/data/alice/ckpt"), "0" * 64, 40, "given")
    at_home = AdapterSource(alice / "ckpt", "0" * 64, 40, "given")
    paths = [
        record.path
        for published in (False, True)
        for one in (elsewhere, at_home)
        if (record := one.record(published)) is not None
    ]
    assert paths == ["/data/alice/ckpt", "~/ckpt", "…/ckpt", "~/ckpt"]
    assert shown_path(Path("relative/ckpt")) == "relative/ckpt"


def test_runs_in_results_are_published_and_those_in_results_runs_are_local() -> None:
    assert is_published(PROJECT_ROOT / "results" / "a")
    assert not is_published(PROJECT_ROOT / "results" / "runs")
    assert not is_published(PROJECT_ROOT / "other")


def test_timings_name_the_chip_and_not_the_machine() -> None:
    assert socket.gethostname() not in measured_at()


def test_the_machine_s_name_in_an_older_cache_is_left_out_when_it_is_read() -> None:
    read = TypeAdapter(MeasuredAt).validate_python
    assert read("2026-01-01T00:00:00Z on AMD EPYC (alices-laptop)").endswith(" on AMD EPYC")
    assert read("2026-01-01T00:00:00Z on AMD EPYC").endswith(" on AMD EPYC")


def test_a_password_in_a_url_is_never_shown(tmp_path: Path) -> None:
    assert without_password("see http://a:b@host/x now") == "see http://host/x now"
    for url in ("ftp://alice:secret@host/a", "http://alice:secret@127.0.0.1:1/a"):
        with pytest.raises(UserError) as caught:
            download(Source(url, "a", "0" * 64, 1, "Do without."), tmp_path)
        assert "secret" not in str(caught.value)
        assert "alice" not in str(caught.value)
