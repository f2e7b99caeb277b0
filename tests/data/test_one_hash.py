"""Same inputs, same hashes: order, line ends, place, locale and time zone decide none of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.bundled import FIXTURES
from harness.compare.thresholds import GATES_FILE, load_gates
from harness.data.sources.mlx_lm_formats import load_texts
from harness.data.sources.wikisql import load_dataset
from harness.disk.files import content_key
from harness.train.variants import load_variants

MINI = FIXTURES / "mini"

SETTINGS = {
    "fine_tune_type": "lora",
    "iters": "4",
    "learning_rate": "1e-4",
    "validate_at": "[1, 3]",
    "lora_parameters": "{rank: 4, keys: [self_attn.q_proj, self_attn.v_proj]}",
    "quantize": "{bits: 4, group_size: 32}",
}
REORDERED = {
    "validate_at": "[3, 1, 3]",
    "quantize": "{group_size: 32, bits: 4}",
    "lora_parameters": "{keys: [self_attn.v_proj, self_attn.q_proj], rank: 4}",
    "learning_rate": "0.0001",
    "iters": "4",
    "fine_tune_type": "lora",
}

ALL_HASHES = """
import json, sys
from pathlib import Path
from harness.data.prompts import STYLES
from harness.data.sources.resolve import resolve_dataset
from harness.disk.cache import Cache
from harness.disk.files import content_key
from harness.models.resolve import resolve
from harness.train.variants import load_variants, shipped
dataset = resolve_dataset("mini")
print(json.dumps([
    dataset.sha256, resolve(sys.argv[1], Cache(Path("cache"))).sha256,
    {name: style.sha256 for name, style in STYLES.items()},
    [content_key(variant.training_config()) for variant in load_variants(shipped())],
    content_key({"\\u00e4\\u0130": 1, "Z": 2, "a": 0.1}),
    [example.id for split in dataset.splits for example in split.examples],
]))
"""


def with_crlf(folder: Path, copy: Path) -> Path:
    """The files as a checkout with `autocrlf` and an editor that marks UTF-8 leave them."""
    copy.mkdir()
    for file in folder.glob("*.jsonl"):
        data = file.read_bytes().replace(b"\n", b"\r\n")
        (copy / file.name).write_bytes(b"\xef\xbb\xbf" + data)
    return copy


def test_a_dataset_is_the_same_with_other_line_ends(tmp_path: Path) -> None:
    one = load_dataset(MINI, "mini")
    other = load_dataset(with_crlf(MINI, tmp_path / "crlf"), "another name")
    assert (other.sha256, other.splits) == (one.sha256, one.splits)


def test_texts_are_the_same_with_other_line_ends(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"{name}.jsonl").write_text('{"text": "a\\r\\nb"}\n{"text": "c"}\n')
    found = [load_texts(f, "t", "text") for f in (folder, with_crlf(folder, tmp_path / "crlf"))]
    assert found[0].sha256 == found[1].sha256
    assert found[0].test == found[1].test


def test_a_variant_is_the_same_whatever_the_order_of_its_file(tmp_path: Path) -> None:
    found = []
    for folder, settings, end in (("a", SETTINGS, "\n"), ("b", REORDERED, "\r\n")):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "mine.yaml"
        text = end.join(f"{key}: {value}" for key, value in settings.items()) + end
        file.write_bytes(text.encode())
        (variant,) = load_variants([str(file)])
        found.append(variant)
    assert found[0] == found[1]
    assert content_key(found[0].training_config()) == content_key(found[1].training_config())


def test_gates_are_the_same_with_other_line_ends(tmp_path: Path) -> None:
    copy = tmp_path / "gates.toml"
    copy.write_bytes(GATES_FILE.read_bytes().replace(b"\n", b"\r\n"))
    assert load_gates(copy) == load_gates(GATES_FILE)


def test_no_hash_depends_on_place_locale_time_zone_or_string_hashing(tmp_path: Path) -> None:
    from tests import two_layers

    model = two_layers.write(tmp_path / "model")
    elsewhere = tmp_path / "else where \u00e4" / "model"
    shutil.copytree(model, elsewhere)
    found = []
    for place, settings in (
        (model, {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "1"}),
        (elsewhere, {"LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "2"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", ALL_HASHES, str(place)],
            cwd=place.parent,
            env=os.environ | {"PYTHONPATH": str(FIXTURES.parent)} | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["train.jsonl", "test.tables.jsonl"])
def test_another_byte_is_another_dataset(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "mini"
    shutil.copytree(MINI, copy)
    text = (copy / name).read_text(encoding="utf-8")
    (copy / name).write_text(text.replace('"', ' "', 1), encoding="utf-8")
    assert load_dataset(copy, "mini").sha256 != load_dataset(MINI, "mini").sha256
