"""Data by a Hugging Face id: columns as mlx-lm maps them, a local path first, its revision kept.

`datasets` is here a module on disk with the same interface, over JSON files; the package itself is
used in the slow test, where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.data.leakage import dataset_info
from harness.data.records import Dataset, TextExample
from harness.data.sources.resolve import resolve_dataset
from harness.errors import UserError
from harness.train.variants import load_variants, named_in_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"

DATASETS = """
import json, pathlib, types

class Split:
    def __init__(self, rows, commit):
        self._rows = rows
        self.column_names = list(rows[0])
        self._fingerprint = str(hash(json.dumps(rows)))
        address = f"hf://datasets/org/name@{commit}/data.parquet"
        self.info = types.SimpleNamespace(download_checksums={address: None})
    def __iter__(self):
        return iter(self._rows)

def load_dataset(path, name=None, split=None):
    file = pathlib.Path(__file__).parent / f"{path.replace('/', '--')}.json"
    if not file.exists():
        raise FileNotFoundError(f"Dataset {path!r} doesn't exist on the Hub")
    value = json.loads(file.read_text())
    splits = {key: Split(rows, value["commit"]) for key, rows in value["splits"].items()}
    if split is None:
        return splits
    kept, _, cut = split.partition("[")
    part = splits[kept]
    if cut:
        first, last = (int(side) if side else None for side in cut.rstrip("]").split(":"))
        part._rows = part._rows[first:last]
    return part
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder whose `org--name.json` are the hub."""
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "datasets.py").write_text(DATASETS)
    real = sys.modules.pop("datasets", None)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    yield folder
    sys.modules.pop("datasets", None)
    if real is not None:
        sys.modules["datasets"] = real


def publish(hub: Path, splits: dict[str, list[dict[str, object]]], name: str = "org/name") -> None:
    text = json.dumps({"commit": COMMIT, "splits": splits})
    (hub / f"{name.replace('/', '--')}.json").write_text(text)


def pairs(*words: str, asked: str = "prompt", told: str = "completion") -> list[dict[str, object]]:
    return [{asked: f"{word}?", told: f"{word}!", "other": 1} for word in words]


def read(name: str, hub: Path) -> Dataset:
    return resolve_dataset(name, hub.parent / "cache")


def refused(name: str, hub: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(name, hub)
    return str(caught.value)


def test_an_id_is_read_with_its_columns_and_its_revision(hub: Path) -> None:
    publish(hub, {"train": pairs("a", "b"), "validation": pairs("c"), "test": pairs("d")})
    found = read("org/name", hub)
    assert (found.name, found.form) == ("org/name", "completions")
    assert [len(split.examples) for split in found.splits] == [2, 1, 1]
    (test,) = found.test.examples
    assert isinstance(test, TextExample)
    assert (test.asked, test.reference) == ("d?", "d!")
    assert dataset_info(found).revision == COMMIT
    # What a model's process reads is the folder, without the package or the network.
    assert resolve_dataset(str(found.folder)).sha256 == found.sha256
    publish(hub, {"train": pairs("a", "e"), "valid": pairs("c"), "test": pairs("d")})
    assert read("org/name", hub).sha256 != found.sha256


def test_messages_and_texts_are_read_too(hub: Path) -> None:
    said = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "a!"}]
    rows: list[dict[str, object]] = [{"messages": said, "tools": None}]
    publish(hub, {"train": rows, "valid": rows, "test": rows})
    assert read("org/name", hub).form == "chat"
    rows = [{"text": "a", "messages_raw": "x"}]
    publish(hub, {"train": rows, "valid": rows, "test": rows})
    assert read("org/name", hub).form == "text"


def test_a_local_path_wins(hub: Path) -> None:
    publish(hub, {"train": pairs("a"), "valid": pairs("b"), "test": pairs("c")})
    (hub.parent / "org" / "name").mkdir(parents=True)
    for split in ("train", "valid", "test"):
        (hub.parent / "org" / "name" / f"{split}.jsonl").write_text('{"text": "mine"}\n')
    found = read("org/name", hub)
    assert (found.form, found.name, found.revision) == ("text", "name", None)


def test_hf_dataset_of_a_variant_file_names_splits_and_columns(hub: Path) -> None:
    publish(hub, {"train": pairs(*"abcdef", asked="q", told="a")})
    file = hub.parent / "mine.yaml"
    file.write_text(
        "hf_dataset: {path: org/name, train_split: 'train[:4]', valid_split: 'train[4:5]', "
        "test_split: 'train[5:]', prompt_feature: q, completion_feature: a}\n"
    )
    (name,) = named_in_files([str(file)], "hf_dataset").values()
    found = read(name, hub)
    assert found.name == "org/name"
    assert [len(split.examples) for split in found.splits] == [4, 1, 1]
    assert found.test.examples[0].question == "f?"
    both = json.dumps([json.loads(name)] * 2)
    assert [len(split.examples) for split in read(both, hub).splits] == [8, 2, 2]


def test_a_folder_whose_columns_have_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qa").mkdir()
    for split, word in (("train", "a"), ("dev", "b"), ("test", "c")):
        row = {"question": f"{word}?", "answer": f"{word}!", "prompt": "not this"}
        (tmp_path / "qa" / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    file = tmp_path / "mine.yaml"
    file.write_text("data: qa\nprompt_feature: question\ncompletion_feature: answer\n")
    (name,) = named_in_files([str(file)], "data").values()
    found = resolve_dataset(name, tmp_path / "cache")
    assert (found.name, found.form) == ("qa", "completions")
    (test,) = found.test.examples
    assert isinstance(test, TextExample)
    assert (test.asked, test.reference) == ("c?", "c!")
    load_variants([str(file)])
    assert "ignored" not in capsys.readouterr().err
    file.write_text("prompt_feature: question\n")
    load_variants([str(file)])
    assert "ignored in variant files: prompt_feature (mine.yaml)" in capsys.readouterr().err
    (tmp_path / "qa" / "test.jsonl").unlink()
    with pytest.raises(UserError, match=r"qa holds no test.jsonl"):
        resolve_dataset(name, tmp_path / "cache")


def test_what_is_missing_is_one_line(hub: Path) -> None:
    publish(hub, {"train": pairs("a"), "valid": pairs("b")})
    assert "no split for test (present: train, valid)" in refused("org/name", hub)
    rows = pairs("a", asked="q")
    publish(hub, {"train": rows, "valid": rows, "test": rows})
    assert "has the columns q, completion, other" in refused("org/name", hub)
    assert "is no folder here; `datasets` says: FileNotFoundError" in refused("org/none", hub)
    assert "Did you mean 'train_split'?" in refused('{"path": "a/b", "train_splt": "x"}', hub)
    assert "needs its path" in refused('{"train_split": "x"}', hub)


def test_without_the_package_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasets").mkdir()  # a folder of data, not the package
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert "pip install datasets" in refused("org/name", tmp_path / "lib")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="the package datasets is not installed"
)
def test_the_package_itself_reads_saved_files(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for split, words in {"train": "abcd", "valid": "ef", "test": "g"}.items():
        file = tmp_path / "data" / f"{split}.parquet"
        file.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_list(pairs(*words)).to_parquet(str(file))
    files = {split: f"{tmp_path}/data/{split}.parquet" for split in ("train", "valid", "test")}
    spec = {"path": "parquet", "config": {"data_files": files}}
    splits = {f"{split}_split": split for split in files}
    found = resolve_dataset(json.dumps(spec | splits), tmp_path / "cache")
    assert [len(split.examples) for split in found.splits] == [4, 2, 1]
    again = resolve_dataset(json.dumps(spec | splits), tmp_path / "cache")
    assert (again.sha256, again.folder) == (found.sha256, found.folder)
