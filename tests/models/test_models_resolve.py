"""Names become folders; what is missing or damaged is one message that says what to do."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.disk.cache import Cache
from harness.errors import UserError
from harness.models.load import load_tokenizer
from harness.models.resolve import (
    TEXT_FILES,
    BaseModel,
    files_in,
    known_architectures,
    resolve,
)


def _refusal(name: str, cache: Cache) -> str:
    with pytest.raises(UserError) as caught:
        resolve(name, cache)
    return str(caught.value)


def test_a_directory_is_found_and_hashed_like_its_original(
    copy: Path, cache: Cache, tiny: BaseModel
) -> None:
    found = resolve(str(copy), cache)
    assert (found.architecture, found.revision, found.sha256) == ("llama", None, tiny.sha256)


def test_the_hash_follows_the_weights_and_not_the_readme(copy: Path, cache: Cache) -> None:
    before = resolve(str(copy), cache).sha256
    (copy / "README.md").write_text("notes")
    assert resolve(str(copy), cache).sha256 == before
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert resolve(str(copy), cache).sha256 != before


@pytest.mark.parametrize(
    "name",
    [
        *("special_tokens_map.json", "added_tokens.json", "tokenizer.model", "spiece.model"),
        *("vocab.txt", "merges.txt", "vocab.json", "qwen.tiktoken", "tekken.json"),
        *("chat_template.jinja", "chat_template.json", "additional_chat_templates/tool.jinja"),
        *("generation_config.json", "hf_quant_config.json"),
    ],
)
def test_the_hash_follows_every_file_that_changes_tokens_text_or_numbers(
    copy: Path, cache: Cache, name: str
) -> None:
    seen = {resolve(str(copy), cache).sha256}
    (copy / name).parent.mkdir(exist_ok=True)
    for text in ("{}", '{"a": 1}'):
        (copy / name).write_text(text)
        seen.add(resolve(str(copy), cache).sha256)
    assert len(seen) == 3
    assert name in files_in(copy, (*TEXT_FILES, "generation_config.json", "hf_quant_config.json"))


def test_the_hash_of_a_plain_model_is_that_of_its_listing(tiny: BaseModel) -> None:
    """As `sha256sum` lists them: a new kind of file leaves other models' fingerprints alone."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    digests = {n: hashlib.sha256((tiny.path / n).read_bytes()).hexdigest() for n in names}
    listing = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    assert tiny.sha256 == hashlib.sha256(listing.encode()).hexdigest()


def test_a_small_file_changed_behind_its_time_is_seen_and_a_large_one_by_its_time(
    copy: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.models.resolve.ALWAYS_HASHED_BYTES", 50_000)
    weights, config = copy / "model.safetensors", copy / "tokenizer_config.json"
    assert weights.stat().st_size > 50_000 > config.stat().st_size

    def changed(file: Path, keep_time: bool) -> str:
        times, data = file.stat().st_mtime_ns, bytearray(file.read_bytes())
        data[-2] ^= 1
        file.write_bytes(data)
        if keep_time:
            os.utime(file, ns=(times, times))
        return resolve(str(copy), cache).sha256

    first = resolve(str(copy), cache).sha256
    assert changed(config, keep_time=True) != first
    assert changed(config, keep_time=True) == first
    assert changed(weights, keep_time=True) == first  # which the docs say
    assert changed(weights, keep_time=False) == first  # flipped back
    assert changed(weights, keep_time=False) != first


def test_a_folder_named_like_a_file_is_no_reason_to_fail(copy: Path, cache: Cache) -> None:
    before = resolve(str(copy), cache).sha256
    (copy / "tokenizer").mkdir()
    assert resolve(str(copy), cache).sha256 == before


def test_resolving_never_imports_mlx(cache: Cache) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.disk.cache import Cache; "
        "from harness.models.resolve import resolve; import harness.models.quantize; "
        "import harness.models.parameters; resolve('tiny', Cache(Path(sys.argv[1]))); "
        "sys.exit(any(name.split('.')[0] in ('mlx', 'mlx_lm') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(cache.root)], check=False)
    assert done.returncode == 0


def test_an_unknown_name_says_what_is_allowed_nearest_first(cache: Cache) -> None:
    assert "Did you mean 'tiny'? Allowed: tiny, smollm2." in _refusal("tny", cache)


def test_a_missing_directory_is_not_taken_for_a_hub_id(cache: Cache) -> None:
    assert "directory './nothing' does not exist" in _refusal("./nothing", cache)


def test_a_file_is_not_a_model(copy: Path, cache: Cache) -> None:
    assert "is a file. Allowed: a directory" in _refusal(str(copy / "config.json"), cache)


def test_an_unreachable_hub_says_what_can_be_used_instead(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    reason = _refusal("nobody/nothing-of-this-name", cache)
    assert "not in the local cache and the hub cannot be reached" in reason
    assert reason.endswith("Or use smollm2 or tiny.")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "config.json does not exist"),
        ("model.safetensors", "has no model*.safetensors"),
        ("tokenizer.json", "has no tokenizer.json or tokenizer.model"),
    ],
)
def test_each_missing_file_is_named(copy: Path, cache: Cache, missing: str, message: str) -> None:
    (copy / missing).unlink()
    assert message in _refusal(str(copy), cache)


def test_an_adapter_given_as_model_is_recognised(copy: Path, cache: Cache) -> None:
    (copy / "config.json").rename(copy / "adapter_config.json")
    assert "give it as --adapter-path" in _refusal(str(copy), cache)


def test_a_folder_of_gguf_names_the_converter(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "holds only GGUF" in _refusal(str(tmp_path), cache)


@pytest.mark.parametrize(("keep", "message"), [(-100, "is truncated"), (100, "not a readable")])
def test_a_truncated_weight_file_is_found_before_loading(
    copy: Path, cache: Cache, keep: int, message: str
) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert message in _refusal(str(copy), cache)


def test_a_missing_shard_of_the_index_is_named(copy: Path, cache: Cache) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00002.safetensors" in _refusal(str(copy), cache)


def test_an_unknown_architecture_lists_the_nearest_names(copy: Path, cache: Cache) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "lama"}))
    assert "unknown architecture 'lama'. Did you mean 'llama'?" in _refusal(str(copy), cache)


def test_code_of_the_models_own_runs_only_when_trusted(copy: Path, cache: Cache) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_file": "own.py"}))
    assert "--trust-remote-code" in _refusal(str(copy), cache)
    assert resolve(str(copy), cache, trust_remote_code=True).architecture == "llama"


OWN_TOKENIZER = """
from pathlib import Path
from transformers import PreTrainedTokenizerFast
Path({trace!r}).touch()
class Own(PreTrainedTokenizerFast):
    pass
"""


def test_a_tokenizer_of_the_models_own_code_runs_only_when_trusted(
    copy: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would ask on standard input, which in the model process is a pipe."""
    # Where it copies the code to; by default in the user's home.
    modules = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    trace = tmp_path / "executed"
    (copy / "own.py").write_text(OWN_TOKENIZER.format(trace=str(trace)))
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    reason = _refusal(str(copy), cache)
    assert "brings a tokenizer of its own code" in reason
    assert "add --trust-remote-code" in reason
    assert not trace.exists()
    base = resolve(str(copy), cache, trust_remote_code=True)
    assert load_tokenizer(base).encode("SELECT") == list(b"SELECT")
    assert trace.exists()


def test_a_tokenizer_that_cannot_be_read_is_reported_without_a_traceback(
    copy: Path, cache: Cache
) -> None:
    (copy / "tokenizer.json").write_text("{}")
    base = resolve(str(copy), cache)
    with pytest.raises(UserError, match="its tokenizer cannot be read"):
        load_tokenizer(base)


def test_a_config_that_is_not_json_is_named(copy: Path, cache: Cache) -> None:
    (copy / "config.json").write_text("{")
    assert "config.json is not readable JSON" in _refusal(str(copy), cache)


def test_aliases_count_as_known_architectures() -> None:
    assert {"llama", "mistral", "qwen3"} <= set(known_architectures())
