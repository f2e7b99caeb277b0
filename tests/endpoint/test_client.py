"""One question to an endpoint: what is sent, what is tried again, what each failure says."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.endpoint.answers import answer_all
from harness.endpoint.client import Endpoint, Reply
from harness.endpoint.settings import EndpointSettings, endpoint_settings
from harness.errors import UserError
from harness.progress import silent
from tests.fake_endpoint import Answer, completion, serve

ASKED = [{"role": "user", "content": "How many?"}]
KEY = "sk-secret-0123456789"


def settings_of(url: str, **settings: Any) -> EndpointSettings:
    return endpoint_settings({"url": url, "model": "m", **settings}, "x")


def endpoint(url: str, **settings: Any) -> Endpoint:
    return Endpoint("mine", settings_of(url, **settings), 0.001)


def failure(url: str, **settings: Any) -> str:
    with pytest.raises(UserError) as raised:
        endpoint(url, **settings).check()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_asked_is_a_greedy_chat_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with serve(lambda *_: (200, completion("SELECT 1", "length", 9))) as fake:
        asked = endpoint(fake.url, api_key_env="MY_KEY", parameters={"stop": [";"], "seed": 1})
        assert asked.reply(ASKED, 64) == Reply("SELECT 1", 9, "length")
    assert fake.paths == ["/v1/chat/completions"]
    assert fake.bodies == [
        {
            "model": "m",
            "messages": ASKED,
            "temperature": 0,
            "max_tokens": 64,
            "stop": [";"],
            "seed": 1,
        }
    ]
    assert fake.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_null_leaves_a_key_out() -> None:
    other = {"max_tokens": None, "max_completion_tokens": 32, "temperature": None}
    with serve(lambda *_: (200, completion("1"))) as fake:
        endpoint(fake.url, parameters=other).reply(ASKED, 64)
    assert fake.bodies == [{"model": "m", "messages": ASKED, "max_completion_tokens": 32}]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ("\ud83d", "?"),
        ({"text": "a"}, ""),
    ],
)
def test_an_answer_is_text_whatever_comes(content: Any, text: str) -> None:
    with serve(lambda *_: (200, completion(content))) as fake:
        assert endpoint(fake.url).reply(ASKED, 8) == Reply(text, 7, "stop")


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_what_passes_by_itself_is_tried_again(status: int) -> None:
    def answer(_: object, number: int) -> Answer:
        return (status, {"error": {"message": "busy"}}) if number < 2 else (200, completion("1"))

    with serve(answer) as fake:
        assert endpoint(fake.url).reply(ASKED, 8).text == "1"
    assert len(fake.bodies) == 3


def test_a_connection_that_breaks_off_is_tried_again() -> None:
    def answer(_: object, number: int) -> Answer:
        # More is announced than is sent.
        return (200, b"{", {"Content-Length": "9"}) if number == 0 else (200, completion("1"))

    with serve(answer) as fake:
        assert endpoint(fake.url, timeout=0.2).reply(ASKED, 8).text == "1"


def test_a_service_says_when_it_wants_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("harness.endpoint.client.time.sleep", waited.append)
    later = {"Retry-After": "7"}
    with serve(lambda _, n: (429, {}, later) if n < 3 else (200, completion("1"))) as fake:
        endpoint(fake.url).reply(ASKED, 8)
    assert waited == [7.0, 7.0, 7.0]


def test_waits_double_and_tries_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("harness.endpoint.client.time.sleep", waited.append)
    with serve(lambda *_: (503, {"error": "loading the model"})) as fake:
        asked = Endpoint("mine", settings_of(fake.url, retries=3), 8.0)
        with pytest.raises(UserError, match="asked 4 times: it answered 503: loading the model"):
            asked.reply(ASKED, 8)
    assert len(fake.bodies) == 4
    for wait, usual in zip(waited, (8, 16, 32), strict=True):
        assert 0.75 * usual <= wait <= 1.25 * usual


def test_nothing_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = failure(f"http://127.0.0.1:{port}")
    assert f"endpoint 'mine' (m at http://127.0.0.1:{port}) cannot be reached" in said
    assert "Connection refused" in said
    assert "mlx_lm.server --model M --port 8080" in said


def test_a_key_is_wanted_refused_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"error": {"message": f"Incorrect API key provided:\n{KEY}."}}
    with serve(lambda *_: (401, told)) as fake:
        assert "write api_key_env: NAME" in failure(fake.url)
        monkeypatch.delenv("MY_KEY", raising=False)
        assert "MY_KEY, which api_key_env names, holds no key" in failure(
            fake.url, api_key_env="MY_KEY"
        )
        monkeypatch.setenv("MY_KEY", KEY)
        said = failure(fake.url, api_key_env="MY_KEY")
    assert "answered 401: Incorrect API key provided: ***. Correct the key: export MY_KEY=" in said
    assert KEY not in said


def test_a_model_that_is_not_there_is_told_by_those_that_are() -> None:
    def answer(body: dict[str, Any], _: int) -> Answer:
        if body:
            return 404, {"error": {"message": "model 'm' not found"}}
        return 200, {"data": [{"id": "qwen"}, {"id": "llama"}]}

    with serve(answer) as fake:
        said = failure(fake.url)
    assert "answered 404: model 'm' not found. Correct model; it has llama, qwen." in said
    assert fake.paths == ["/v1/chat/completions", "/v1/models"]


def test_a_wrong_path_a_redirect_and_another_service_are_told() -> None:
    with serve(lambda *_: (404, b"<html>nothing here</html>")) as fake:
        said = failure(f"{fake.url}/api")
        assert f"Correct url, or model: asked was {fake.url}/api/chat/completions" in said
    # The key of one host is not for another.
    with serve(lambda *_: (302, b"", {"Location": "http://u:pw0rd@other/v1?key=abcdef"})) as fake:
        assert "it leads to http://other/v1. Write that url." in failure(fake.url)
        assert len(fake.bodies) == 1
    for body in (b"hello", [], {"choices": []}, {"choices": [{"message": None}]}):
        with serve(lambda *_, body=body: (200, body)) as fake:
            assert "sent no chat completion" in failure(fake.url)


def test_a_refused_question_says_what_to_change() -> None:
    told = {"error": {"message": "Unsupported parameter: 'max_tokens'"}}
    with serve(lambda *_: (400, told)) as fake:
        assert "'max_tokens'. Change what is asked: parameters:" in failure(fake.url)


def test_the_password_of_a_url_is_sent_and_never_shown() -> None:
    with serve(lambda *_: (403, {"error": "no entry for pa:ss"})) as fake:
        url = f"http://me:pa%3Ass@127.0.0.1:{fake.port}/v1?token=abcdef"
        said = failure(url)
        assert fake.headers[0]["Authorization"] == "Basic bWU6cGE6c3M="
        assert fake.paths[0] == "/v1/chat/completions?token=abcdef"
    assert "no entry for ***" in said
    asked = endpoint(url)
    for shown in (said, str(asked.settings.record()), repr(asked.settings), asked.title):
        assert not any(secret in shown for secret in ("pa%3Ass", "pa:ss", "abcdef", "me:"))
    assert asked.settings.record()["url"] == f"http://127.0.0.1:{fake.port}/v1"


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"url": "ftp://me:pa55word@host"}, "url: must begin with http://"),
        ({"url": "http://"}, "url: must begin with http://"),
        ({"url": "http://h:x"}, "url: is no URL"),
        ({"api_key": KEY}, "api_key: Extra inputs"),
        ({"api_key_env": KEY}, "api_key_env: String should match"),
        ({"concurrency": 0}, "concurrency: Input should be greater"),
        ({"timeout": "soon"}, "timeout: Input should be a valid number"),
        ({"parameters": {"stream": True}}, "parameters: stream: tunebench decides"),
        ({"model": ""}, "model: String should have"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(settings: Any, wrong: str) -> None:
    with pytest.raises(UserError) as raised:
        endpoint_settings({"url": "http://h", "model": "m", **settings}, "'mine' (mine.yaml)")
    assert wrong in str(raised.value)
    assert "Allowed: description, url, model, api_key_env" in str(raised.value)
    assert KEY not in str(raised.value)
    assert "pa55word" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:1", "http://h:1/v1/chat/completions"),
        ("http://h:1/", "http://h:1/v1/chat/completions"),
        ("http://h/v1/", "http://h/v1/chat/completions"),
        ("https://h/api/v1/chat/completions", "https://h/api/v1/chat/completions"),
        (
            "https://u@h/openai/v1?api-version=1",
            "https://h/openai/v1/chat/completions?api-version=1",
        ),
    ],
)
def test_a_url_may_end_at_the_host_at_v1_or_be_whole(url: str, address: str) -> None:
    assert settings_of(url).address() == address


def answers(found: Endpoint, texts: list[str], work: Path, notes: list[str]) -> list[str]:
    asked = [[{"role": "user", "content": text}] for text in texts]
    return [one.text for one in answer_all(found, asked, 8, work, silent, notes.append)]


def test_as_many_are_asked_at_a_time_as_the_settings_say(tmp_path: Path) -> None:
    """Each answer waits until three questions are there: fewer at a time would never end."""
    together = threading.Barrier(3, timeout=30)

    def answer(body: dict[str, Any], _: int) -> Answer:
        together.wait()
        return 200, completion(body["messages"][0]["content"].upper())

    with serve(answer) as fake:
        found = endpoint(fake.url, concurrency=3)
        assert answers(found, [*"abcdef"], tmp_path, []) == [*"ABCDEF"]


def test_answers_of_a_run_that_was_broken_off_are_not_asked_again(tmp_path: Path) -> None:
    def until_c(body: dict[str, Any], _: int) -> Answer:
        text = body["messages"][0]["content"]
        return (400, {"error": "no c"}) if text == "c" else (200, completion(text))

    notes: list[str] = []
    with serve(until_c) as fake, pytest.raises(UserError, match="answered 400: no c"):
        answers(endpoint(fake.url, concurrency=1), [*"abcd"], tmp_path, notes)
    assert notes == []
    with serve(lambda body, _: (200, completion(body["messages"][0]["content"]))) as fake:
        assert answers(endpoint(fake.url), [*"abcd"], tmp_path, notes) == [*"abcd"]
        assert len(fake.bodies) == 2
    assert "goes on from 2 of 4 answers" in notes[0]
