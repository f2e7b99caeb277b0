"""A model behind a URL beside the variants: answered, graded, compared, gated like any other."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli.runs import compare_command, gate_command, report_command
from harness.compare.evidence import faults
from harness.data.prompts import STYLES
from harness.data.sources.resolve import resolve_dataset
from harness.disk.cache import Cache
from harness.models.resolve import resolve
from harness.runs.store import read_run
from tests import forks
from tests.fake_endpoint import Answer, Fake, completion, serve
from tests.ports import free_ports

MINI = resolve_dataset("mini").test
SECRETS = {"URL_PASSWORD": "pa55word", "MY_KEY": "sk-secret-0123456789"}
CHAT, SQL = STYLES["chat"], STYLES["sql"]
GOLD = {
    CHAT.prompt(e.question, MINI.tables[e.table_id]): SQL.completion(
        e.gold, MINI.tables[e.table_id]
    ).strip()
    for e in MINI.examples
}


def knows(share: int) -> Any:
    """A service that answers every question but each ``share``-th with gold in a fence."""

    def answer(body: dict[str, Any], _: int) -> Answer:
        (message,) = body["messages"]
        gold = GOLD.get(message["content"], "SELECT nothing FROM nowhere")
        number = [*GOLD].index(message["content"]) if message["content"] in GOLD else 1
        text = f"Here it is:\n```sql\n{gold}\n```" if number % share else "I do not know."
        return 200, completion(text, "length" if number % share == 0 else "stop")

    return answer


def bench(
    where: Path, name: str, *arguments: str, suites: str = "suites/"
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = forks.run(
        *("-m", "pytest", suites, "-rs", f"--results-dir={where}", f"--run-name={name}"),
        *arguments,
        environment={"XDG_CACHE_HOME": str(where / "cache"), **SECRETS},
    )
    path = where / name / "results.json"
    return done, json.loads(path.read_text("utf-8")) if path.exists() else {}


def endpoint_file(folder: Path, name: str, fake: Fake, model: str = "model-a") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        f"url: http://me:{SECRETS['URL_PASSWORD']}@127.0.0.1:{fake.port}/v1\n"
        f"model: {model}\napi_key_env: MY_KEY\ndescription: a fake\nconcurrency: 8\n"
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("endpoint")


@pytest.fixture(scope="module")
def alone(folder: Path) -> Iterator[tuple[subprocess.CompletedProcess[str], dict[str, Any], Fake]]:
    """A run of an endpoint alone, of all 200 questions."""
    with serve(knows(10)) as fake:
        file = endpoint_file(folder, "strong", fake)
        yield *bench(folder, "alone", f"--variant={file}"), fake


@pytest.mark.slow
def test_an_endpoint_alone_is_a_whole_run_of_answers(
    alone: tuple[subprocess.CompletedProcess[str], dict[str, Any], Fake], folder: Path
) -> None:
    done, results, fake = alone
    assert done.returncode == 0, done.stdout + done.stderr
    assert results["run"]["source"] == "endpoint"
    assert results["run"]["partial"] == []
    assert results["model"]["id"] == "model-a"
    assert results["protocols"]["loss"] == "not measured"
    (found,) = results["variants"].values()
    usable = 200 - found["execution"]["degenerate_gold"]
    assert found["execution"]["ex"] >= 0.9 * (usable - 20) / usable
    assert len(found["questions"]) == 8
    given = {key for key, value in found.items() if value is not None}
    assert given == {"config", "execution", "questions"}
    # The probe, 200 test questions, 8 on students; each suite reads the same answers.
    assert len(fake.bodies) == 209
    assert {body["max_tokens"] for body in fake.bodies[1:]} == {256}
    rows = read_run(folder / "alone").predictions("strong")
    assert rows is not None
    assert [row.finish for row in rows[:11]] == ["length", *["stop"] * 9, "length"]
    assert faults(read_run(folder / "alone")) == []


@pytest.mark.slow
def test_what_needs_weights_is_skipped_with_the_endpoints_name(
    alone: tuple[subprocess.CompletedProcess[str], dict[str, Any], Fake],
) -> None:
    said = " ".join(alone[0].stdout.split())
    reason = f"endpoint 'strong' (model-a at {alone[2].url}/v1) has answers alone"
    assert reason in said
    for suite in ("finetune", "loss", "memory", "size", "fuse", "throughput"):
        assert f"test_{suite}.py" in said.partition("short test summary")[2]


@pytest.mark.slow
def test_no_secret_is_written_or_said(
    alone: tuple[subprocess.CompletedProcess[str], dict[str, Any], Fake], folder: Path
) -> None:
    assert alone[2].headers[0]["Authorization"] == f"Bearer {SECRETS['MY_KEY']}"
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".yaml"]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in files]
    assert any("model-a" in text for text in texts)
    for secret in SECRETS.values():
        assert not any(secret in text for text in [*texts, alone[0].stdout, alone[0].stderr])
    config = alone[1]["variants"]["strong"]["config"]
    assert config["endpoint"]["api_key_env"] == "MY_KEY"
    assert config["endpoint"]["url"] == f"{alone[2].url}/v1"
    assert config["prompt"].startswith("chat@2 sha256:")
    assert "lora_parameters" not in config


@pytest.mark.slow
def test_an_endpoint_beside_the_base_is_compared_on_its_answers(
    alone: object, folder: Path, two_layers: Path
) -> None:
    with serve(knows(4)) as fake:
        weak = endpoint_file(folder, "weak", fake, "model-b")
        done, results = bench(
            folder,
            "beside",
            *(f"--variant=base,{weak}", f"--model={two_layers}", "--max-new-tokens=16"),
            suites="suites/test_execution.py",
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert results["run"]["source"] == "measured"
    assert [(c["metric"], c["verdict"]) for c in results["comparisons"]] == [
        ("ex", "better"),
        ("ex_hardened", "better"),
    ]
    assert "--seeds" not in done.stdout, "nothing was trained"
    report = (folder / "beside" / "report.md").read_text("utf-8")
    assert "its weights are not known" not in report
    assert "`weak`: not known, behind" in report
    assert "`weak` is `model-b` behind" in report
    assert "asked with `chat@2` for at most 16 tokens" in report


@pytest.mark.slow
def test_endpoints_are_compared_reported_and_gated(alone: object, folder: Path) -> None:
    with serve(knows(2)) as fake:
        half = endpoint_file(folder, "half", fake)
        baseline = folder / "alone" / "results.json"
        done, results = bench(folder, "half", f"--variant={half}", f"--baseline={baseline}")
    # Names differ, and of one variant on either side it is plain which is meant.
    assert done.returncode == 1, done.stdout + done.stderr
    verdicts = {gate["metric"]: gate["verdict"] for gate in results["gates"]}
    assert {verdicts[name] for name in ("ex", "ex_hardened", "valid")} == {"fail"}
    assert {verdicts[name] for name in ("completion_loss", "generation_tokens_per_s")} == {
        "skipped"
    }
    value, _ = compare_command(str(folder / "alone"), str(folder / "half"))
    assert [c["verdict"] for c in value["comparisons"]] == ["worse", "worse"]
    _, text, status = gate_command(str(folder / "alone"), str(folder / "half"))
    assert status == 0, text
    _, text = report_command([str(folder / "alone"), str(folder / "half")], out=folder / "both")
    assert "a system elsewhere, its weights are not known" in (
        folder / "both" / "report.md"
    ).read_text("utf-8")


def test_an_endpoint_that_does_not_answer_is_refused_before_anything_is_trained(
    folder: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    file = endpoint_file(folder, "nobody", Fake(port))
    done, results = bench(folder, "none", f"--variant=lora,{file}", "--model=tiny")
    assert (done.returncode, results) == (4, {})
    assert f"endpoint 'nobody' (model-a at http://127.0.0.1:{port}/v1) cannot" in done.stderr


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Fake]:
    """`mlx_lm.server` with `tiny`, as a user starts it."""
    model = resolve("tiny", Cache(folder / "cache" / "tunebench")).path
    port = free_ports(21_000)
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(model), "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield Fake(port)
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
def test_a_model_behind_mlx_lm_server_answers_as_it_does_here(folder: Path, served: Fake) -> None:
    """The same weights and messages; only what is decoded together, and so rounding, differs."""
    file = folder / "tiny-server.yaml"
    file.write_text(f"url: {served.url}\nmodel: default_model\nconcurrency: 2\n")
    done, _ = bench(
        folder,
        "server",
        *("--model=tiny", "--prompt-style=chat", "--limit=12", "--max-new-tokens=12"),
        f"--variant=base,{file}",
        suites="suites/test_execution.py",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = read_run(folder / "server")
    here, there = run.predictions("base"), run.predictions("tiny-server")
    assert here is not None
    assert there is not None
    assert {row.finish for row in there} == {"length"}
    same = sum(one.text == other.text for one, other in zip(here, there, strict=True))
    assert same >= 11, [(a.text, b.text) for a, b in zip(here, there, strict=True)]


@pytest.mark.slow
def test_a_model_that_mlx_lm_server_has_not_is_told(folder: Path, served: Fake) -> None:
    file = folder / "absent.yaml"
    file.write_text(f"url: {served.url}\nmodel: nobody/absent\nretries: 0\n")
    done, _ = bench(folder, "absent", f"--variant={file}")
    assert done.returncode == 4
    assert f"endpoint 'absent' (nobody/absent at {served.url}) answered 404: " in done.stderr
