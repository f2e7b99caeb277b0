"""Whatever a file holds that somebody else made, it is read or refused in one message, and soon.

Each parser is given bytes and JSON of every shape: it returns or raises a :class:`UserError`, never
anything else. A short sample runs always, many examples with the slow tests.
"""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compare.thresholds import load_gates
from harness.data.chat_template import apply_template
from harness.data.sources import jsonlines
from harness.data.sources.archive import unpack
from harness.data.sources.resolve import resolve_dataset
from harness.data.sources.wikisql import load_split
from harness.disk.cache import Cache
from harness.disk.manifest import MANIFEST
from harness.errors import UserError
from harness.models.adapter import adapter_config
from harness.models.peft import as_mlx_lm
from harness.models.resolve import inspect
from harness.models.weights import check_weights, read_header
from harness.plugin import JOB_SUMMARY_VARIABLE, _append_job_summary
from harness.runs.store import read_run
from harness.sql.grade.predictions import read_predictions
from harness.train.variants import load_variants
from harness.worker.client import ended

OLD = Path(__file__).with_name("results_v0")
ROOT = Path(__file__).resolve().parents[2]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "id", "rows", "sel", "1e999", "\x1b[2J\u2028"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def safetensors(value: Any) -> bytes:
    header = json.dumps(value).encode()
    return struct.pack("<Q", len(header)) + header


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def a_dataset(folder: Path, data: bytes, value: Any) -> None:
    table = {"id": "t", "header": ["A"], "types": ["text"], "rows": [["x"]]}
    sql = {"sel": 0, "agg": 0, "conds": []}
    example = {"table_id": "t", "question": "q", "sql": sql}
    odd = [value, {**table, "rows": value}, {**table, "header": value}]
    put(folder, "x.tables.jsonl", b"\n".join([json.dumps(one).encode() for one in odd] + [data]))
    odd = [{**example, "sql": value}, {**example, "sql": {**sql, "conds": [[0, 0, value]]}}]
    put(folder, "x.jsonl", b"\n".join(json.dumps(one).encode() for one in odd))
    load_split(folder, ["x"])


def texts(folder: Path, data: bytes, value: Any) -> None:
    rows = [{"text": value}, {"prompt": value, "completion": "x"}, {"messages": value}]
    for row in (*rows, {"messages": [value], "tools": value}, value):
        for split in ("train", "valid", "test"):
            put(folder, f"{split}.jsonl", json.dumps(row).encode() + b"\n" + data)
        with suppress(UserError):
            resolve_dataset(str(folder))
    put(folder, "train.jsonl", data)
    resolve_dataset(str(folder))


def predictions(folder: Path, data: bytes, value: Any) -> None:
    lines = [{"id": 0, "text": value}, {"id": 1, "query": value}, value]
    for format in ("text", "wikisql"):
        file = put(folder, "p", b"\n".join([json.dumps(one).encode() for one in lines] + [data]))
        read_predictions(file, format, [0, 1])


def a_variant(folder: Path, data: bytes, value: Any) -> None:
    for text in (data, json.dumps({"lora_parameters": value, "iters": value}).encode()):
        load_variants([str(put(folder, "v.yaml", text))])


def an_adapter(folder: Path, data: bytes, value: Any) -> None:
    config = {"num_layers": 1, "lora_parameters": value}
    for text in (data, json.dumps(value).encode(), json.dumps(config).encode()):
        put(folder, "adapter_config.json", text)
        adapter_config(folder)


def a_peft_adapter(folder: Path, data: bytes, value: Any) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    parts = {"A": ([2, 3], [0, 24]), "B": ([3, 2], [24, 48])}
    header: dict[str, Any] = {
        f"{name}{part}.weight": {"dtype": "F32", "shape": shape, "data_offsets": place}
        for part, (shape, place) in parts.items()
    }
    put(folder, "adapter_model.safetensors", safetensors(header) + bytes(48))
    whole = {"peft_type": "LORA", "r": 2, "lora_alpha": 16, "alpha_pattern": {}}
    for key in (*whole, "use_dora", "use_rslora", "bias", "init_lora_weights", "rank_pattern"):
        with suppress(UserError):
            as_mlx_lm(folder, {**whole, key: value})
    for pattern in ("(a+)+b", "[", ".*.*.*", "**", data.decode("latin-1")):
        with suppress(UserError):
            as_mlx_lm(folder, {**whole, "alpha_pattern": {pattern: value}})


def weights(folder: Path, data: bytes, value: Any) -> None:
    entry = {"dtype": "F32", "shape": value, "data_offsets": value}
    for text in (data, safetensors(value), safetensors({"a": entry})):
        read_header(put(folder, "a.safetensors", text))


def a_model(folder: Path, data: bytes, value: Any) -> None:
    put(folder, "model.safetensors", safetensors({}))
    for text in (data, json.dumps({"weight_map": {"a": value}}).encode()):
        put(folder, "model.safetensors.index.json", text)
        check_weights("m", folder)


def a_configuration(folder: Path, data: bytes, value: Any) -> None:
    put(folder, "model.safetensors", safetensors({}))
    put(folder, "tokenizer.json", data)
    put(folder, "tokenizer_config.json", json.dumps({"auto_map": value}).encode())
    keys = ("model_type", "quantization", "model_file", "num_hidden_layers", "text_config")
    odd = [{"model_type": "llama", key: value} for key in keys]
    for text in (data, *(json.dumps(one).encode() for one in (value, *odd))):
        put(folder, "config.json", text)
        with suppress(UserError):
            inspect("m", folder, Cache(folder / "cache"), None)


def an_archive(folder: Path, data: bytes, value: Any) -> None:
    unpack(put(folder, "a.tar.bz2", data), folder / "out")


def a_run(folder: Path, data: bytes, value: Any) -> None:
    raw = json.loads((OLD / "results.json").read_text("utf-8"))
    for key in raw:
        put(folder, "results.json", json.dumps({**raw, key: value}).encode())
        with suppress(UserError):
            read_run(folder)
    put(folder, "results.json", data)
    read_run(folder)


def rows_of_a_run(folder: Path, data: bytes, value: Any) -> None:
    shutil.copy(OLD / "results.json", folder)
    for kind in ("predictions", "losses"):
        whole = json.loads((OLD / f"{kind}.lora.jsonl").read_text("utf-8").split("\n", 1)[0])
        for text in (data, *(json.dumps({**whole, key: value}).encode() for key in whole)):
            put(folder, f"{kind}.lora.jsonl", text)
            with suppress(UserError):
                getattr(read_run(folder), kind)("lora")


def gates(folder: Path, data: bytes, value: Any) -> None:
    load_gates(put(folder, "gates.toml", data))


def a_cache_entry(folder: Path, data: bytes, value: Any) -> None:
    cache = Cache(folder)
    cache.notify = lambda _: None
    for text in (data, json.dumps(value).encode(), json.dumps({"files": value}).encode()):
        entry = cache.path("k", "key")
        entry.mkdir(parents=True, exist_ok=True)
        put(entry, MANIFEST, text)
        cache.find("k", "key")
        shutil.rmtree(entry, ignore_errors=True)


Parser = Callable[[Path, bytes, Any], None]
Record = Callable[[str, object], None]
PARSERS: list[Parser] = [
    *(a_dataset, texts, predictions, a_variant, an_adapter, a_peft_adapter),
    *(weights, a_model, a_configuration),
    *(an_archive, a_run, rows_of_a_run, gates, a_cache_entry),
]


def refuses_or_reads(parse: Parser, data: bytes, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(UserError):
        parse(Path(folder), data, value)


@pytest.mark.parametrize("parse", PARSERS)
def test_a_sample_of_odd_files_is_read_or_refused(parse: Parser, record_property: Record) -> None:
    record_property("tried", 8)
    settings(max_examples=8)(given(st.binary(max_size=200), JSON)(refuses_or_reads_of(parse)))()


@pytest.mark.slow
@pytest.mark.parametrize("parse", PARSERS)
def test_many_odd_files_are_read_or_refused(parse: Parser, record_property: Record) -> None:
    record_property("tried", 500)
    settings(max_examples=500)(given(st.binary(max_size=2000), JSON)(refuses_or_reads_of(parse)))()


def refuses_or_reads_of(parse: Parser) -> Callable[[bytes, Any], None]:
    def check(data: bytes, value: Any) -> None:
        refuses_or_reads(parse, data, value)

    return check


DEEP = b"[" * 100_000


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("data", [b"", DEEP, b'{"a":' * 5_000, b"\xff\xfe", b"1" * 5_000])
def test_deep_and_long_ones_too(parse: Parser, data: bytes) -> None:
    refuses_or_reads(parse, data, [])


def test_a_compressed_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonlines, "MAX_UNPACKED_BYTES", 1 << 20)
    path = put(tmp_path, "x.jsonl.gz", gzip.compress(b" " * (1 << 20)))
    assert len(jsonlines.read_bytes(path)) == 1 << 20
    put(tmp_path, "x.jsonl.gz", gzip.compress(b" " * ((1 << 20) + 1)))
    with pytest.raises(UserError, match="unpacks to more than 1,048,576 bytes"):
        jsonlines.read_bytes(path)


def test_a_shape_of_120_000_dimensions_ends_soon(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [9] * 120_000, "data_offsets": [0, 4]}
    with pytest.raises(UserError, match="tensor 'a' has 120000 dimensions"):
        read_header(put(tmp_path, "a.safetensors", safetensors({"a": entry})))


def test_a_device_is_no_predictions_file() -> None:
    with pytest.raises(UserError, match="it is a device"):
        read_predictions(Path("/dev/zero"), "text", [0])


def test_an_adapter_s_scale_as_text_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    config = {"num_layers": 1, "lora_parameters": {"rank": 8, "scale": "20", "dropout": 0.0}}
    put(tmp_path, "adapter_config.json", json.dumps(config).encode())
    with pytest.raises(UserError, match=r"lora_parameters\.scale must be a number, got '20'"):
        adapter_config(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["run"].update(seed=-5),
        lambda raw: raw["model"].update(id=["x"]),
        lambda raw: raw["variants"]["lora"]["execution"]["by_agg"][""].update(ex=1e18),
        lambda raw: next(iter(raw["variants"].values()))["parameters"].update(packed_total=1e400),
    ],
)
def test_numbers_that_no_run_has_are_refused(tmp_path: Path, change: Any) -> None:
    raw = json.loads((OLD / "results.json").read_text("utf-8"))
    change(raw)
    put(tmp_path, "results.json", json.dumps(raw).encode())
    with pytest.raises(UserError):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "it ran for more than",
        ),
        ("{{ 9 ** (9 ** 9) }}", "it ran for more than"),
        ("{{ 'a' * 10**11 }}", "MemoryError"),
    ],
)
def test_a_chat_template_that_loops_or_fills_the_memory_ends(
    template: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    monkeypatch.setattr("harness.data.chat_template.LIMIT_S", 0.2)
    tokenizer = SimpleNamespace(
        apply_chat_template=lambda messages, **_: _compile_jinja_template(template).render()
    )
    with pytest.raises(UserError, match=reason):
        apply_template(tokenizer, [{"role": "user"}], "here", "Use another.")


UNINTERRUPTED = """
from types import SimpleNamespace
from transformers.utils.chat_template_utils import _compile_jinja_template
from harness.data import chat_template
chat_template.LIMIT_S = 0.1
twins = "{% set n = namespace(a=[1], b=[1]) %}{% for _ in range(60) %}{% set n.a = [n.a, n.a] %}"
twins += "{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}"
tokenizer = SimpleNamespace(
    apply_chat_template=lambda messages, **_: _compile_jinja_template(twins).render()
)
chat_template.apply_template(tokenizer, [{"role": "user"}], "here", "Use another.")
"""


@pytest.mark.slow
def test_a_chat_template_that_no_signal_interrupts_ends_its_process_and_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNINTERRUPTED], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGXCPU
    assert "chat_template.py" in done.stderr
    assert f"killed by signal {int(signal.SIGXCPU)}: a chat template" in ended(done.returncode)


def test_a_job_summary_that_cannot_be_written_is_told_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(JOB_SUMMARY_VARIABLE, "/dev/full")
    _append_job_summary("x" * 100_000)
    assert "cannot write /dev/full" in capsys.readouterr().err
