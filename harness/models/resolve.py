"""From a model's name to a checked folder: ``smollm2``, ``tiny``, a directory or a hub id.

Name -> :class:`BaseModel`: where it lies, what it is, and a SHA-256 over its files. Everything
that can be wrong without reading weights is found here, before MLX is imported: a missing or
unreadable config, an architecture mlx-lm does not know, absent or truncated safetensors, a folder
that holds only GGUF. Does not load weights (``load.py``) and never imports mlx.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.disk.cache import FINGERPRINTS, Cache
from harness.disk.files import content_key, sha256_file, user_path, write_json
from harness.disk.manifest import ALWAYS_HASHED_BYTES
from harness.errors import UserError, unknown
from harness.machine.installed import install_command
from harness.models.config import ModelConfig, read_object
from harness.models.embedded import smollm2, tiny
from harness.models.hub import FILES, snapshot
from harness.models.weights import ADAPTER_CONFIG, PACKED, Tensor, check_weights
from harness.progress import ProgressCallback, print_message, silent

EMBEDDED = ("smollm2", "tiny")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
TEXT_FILES = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges*"),
    *("*.model", "*.spm", "*.tiktoken", "tekken.json", "*.jinja", "chat_template*"),
    *("additional_chat_templates/*.jinja", "*.py"),
)
"""What decides a model's tokens and text, in any form that `transformers` and mlx-lm read."""

_NUMBER_FILES = (
    *("config.json", "generation_config.json", "hf_quant_config.json", "*.safetensors"),
    *(f"{PACKED}/config.json", f"{PACKED}/*.safetensors"),
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model directory that exists and is whole, as far as its files show without loading it."""

    id: str
    """The name the user gave."""
    path: Path
    """Its folder, in the layout of Hugging Face and MLX."""
    revision: str | None
    """The hub's commit, or the embedded model's version; None for a directory."""
    sha256: str
    """Over the files that decide its numbers and texts: configuration, weights, tokenizer."""
    architecture: str
    """``model_type`` of its configuration."""
    config: Mapping[str, Any]
    """Its ``config.json``."""
    trusted: bool = False
    """Whether Python code that lies in its folder may run (--trust-remote-code)."""

    @property
    def layers(self) -> int:
        """Number of transformer blocks; 0 where the configuration has no such key."""
        return ModelConfig(self.config).layers or 0

    @property
    def quantization(self) -> Mapping[str, Any] | None:
        """How the weights are quantized on disk, or None."""
        return ModelConfig(self.config).quantization

    @property
    def packed(self) -> Path | None:
        """The folder that holds the weights with the few bits they were stored in, or None."""
        return packed_folder(self.path, self.config)


def packed_folder(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """The model directory with the low-bit weights of the one in ``folder``: itself where it is
    quantized; None where there is none."""
    if ModelConfig(config).quantization is not None:
        return folder
    inside = folder / PACKED
    return inside if (inside / "config.json").is_file() else None


def resolve(
    name: str,
    cache: Cache,
    progress: ProgressCallback = silent,
    trust_remote_code: bool = False,
) -> BaseModel:
    """Find, and where needed download or make, the model called ``name``.

    Args:
        name: ``smollm2``, ``tiny``, a directory, or a hub id ``owner/name`` with an optional
            ``@revision``. A directory wins over a hub id of the same spelling.
        cache: where embedded models and their checksums are kept.
        progress: called with the steps of downloads and conversions.
        trust_remote_code: allow a model whose architecture is Python code of its own.

    Raises:
        UserError: there is no such model, or it is damaged, or cannot be fetched.
    """
    revision: str | None
    if name == "tiny":
        revision = f"tiny-{tiny.VERSION}"
        folder = cache.build("models", revision, tiny.write)
    elif name == "smollm2":
        revision = f"{smollm2.PACKAGE}=={smollm2.VERSION}"
        folder = smollm2.directory(cache, progress)
    else:
        folder, revision = _found(name, FILES)
    return inspect(name, folder, cache, revision, trust_remote_code)


def _found(name: str, files: Sequence[str]) -> tuple[Path, str | None]:
    """An existing directory, or the ``files`` of a hub model and its commit."""
    folder, embedded = user_path(name), ", ".join(EMBEDDED)
    if folder.is_dir():
        return folder, None
    if folder.is_file():
        raise UserError(
            f"model {name!r} is a file. Allowed: a directory with config.json and "
            f"model*.safetensors, a hub id, {embedded}."
        )
    if _HUB_ID.fullmatch(name):
        folder = snapshot(name, files)
        return folder, folder.name
    if "/" in name or name.startswith("."):
        raise UserError(
            f"model directory {name!r} does not exist. Allowed: an existing directory, a hub id "
            f"such as mlx-community/Mistral-7B-v0.1-4bit-mlx, {embedded}."
        )
    raise unknown("model", name, EMBEDDED, "Or give a directory or a hub id (owner/name).")


def read_config(name: str, packed: bool = False) -> dict[str, Any]:
    """The ``config.json`` of a model's name, without its weights; the hub sends that one file.

    Args:
        name: as :func:`resolve` takes it.
        packed: the configuration of its low-bit weights instead.

    Raises:
        UserError: there is no such model, or its configuration cannot be read; or it has no
            low-bit weights.
    """
    if name == "smollm2":
        return smollm2.CONFIG | ({"quantization": smollm2.PACKING} if packed else {})
    if name == "tiny":
        folder, config = Path(), tiny.config()
    else:
        folder, _ = _found(name, ("config.json",))
        config = _config(name, folder)
    if not packed:
        return config
    found = None if name == "tiny" else packed_folder(folder, config)
    if found is None:
        raise no_low_bits(name)
    return config if found == folder else _config(name, found)


def no_low_bits(name: str) -> UserError:
    """The refusal of ``quantize: source`` for a model that has no low-bit weights of its own."""
    return UserError(
        f"quantize: source keeps the bits that a model was stored with, and model {name!r} has no "
        "low-bit source. Use quantize: {bits: 4} (as --variant=qlora), or --model=smollm2."
    )


def inspect(
    name: str, folder: Path, cache: Cache, revision: str | None, trust_remote_code: bool = False
) -> BaseModel:
    """The :class:`BaseModel` of a model directory.

    Raises:
        UserError: something in it is missing, unreadable or not known to mlx-lm.
    """
    config = _config(name, folder)
    architecture = architecture_of(name, config, trust_remote_code)
    config = _note_unquantized(config, check_weights(name, folder))
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        raise UserError(
            f"model {name!r}: {folder} has no tokenizer.json or tokenizer.model. Copy the "
            "tokenizer files of the original model beside its weights."
        )
    _refuse_tokenizer_code(name, folder, trust_remote_code)
    digest = _sha256(folder, cache)
    return BaseModel(name, folder, revision, digest, architecture, config, trust_remote_code)


def _refuse_tokenizer_code(name: str, folder: Path, trust_remote_code: bool) -> None:
    """Refuse a tokenizer that is Python code of the model's own, unless it is trusted.

    ``transformers`` would ask on standard input, which in the model process is the pipe of calls.
    """
    own = None
    with suppress(UserError):  # absent, or its reader names the fault
        own = read_object(folder / "tokenizer_config.json").get("auto_map")
    if own and not trust_remote_code:
        raise _not_trusted(name, f"a tokenizer of its own code ({own})")


def _not_trusted(name: str, code: str) -> UserError:
    return UserError(
        f"model {name!r} brings {code}, which would be run here. If you trust its author, add "
        "--trust-remote-code."
    )


def _config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        if any(folder.glob("*.gguf")):
            raise UserError(
                f"model {name!r}: {folder} holds only GGUF. Allowed: config.json with "
                "model*.safetensors. Get the original model, or convert it with mlx_lm.convert."
            )
        adapter = (folder / ADAPTER_CONFIG).is_file()
        hint = " It holds an adapter: give it as --adapter-path." if adapter else ""
        raise UserError(f"model {name!r}: {path} does not exist.{hint}")
    config = read_object(path, f"model {name!r}: ")
    if not isinstance(config.get("model_type"), str):
        raise UserError(f"model {name!r}: {path} has no model_type. Is it a model's config?")
    return config


def _note_unquantized(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration of a quantized model, with ``false`` for each matrix left unquantized.

    mlx-lm reads that from the weights and need not record it; counting parameters from the
    configuration alone needs it.
    """
    quantization = config.get("quantization")
    if not isinstance(quantization, dict):
        return config
    plain = {
        stem: False
        for stem in (name.removesuffix(".weight") for name in tensors if name.endswith(".weight"))
        if len(tensors[f"{stem}.weight"].shape) == 2
        and f"{stem}.scales" not in tensors
        and stem not in quantization
    }
    return {**config, "quantization": {**quantization, **plain}} if plain else config


_MODEL_CLASS = re.compile(r"^class Model\(|^from \.\w+ import .*\bModel\b", re.M)
"""In a file of an architecture; mlx-lm's others there are their parts."""


def known_architectures() -> list[str]:
    """The ``model_type`` names mlx-lm has code for, found without importing it."""
    spec = find_spec("mlx_lm")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"mlx-lm is not installed: {install_command()}")
    folder = Path(spec.submodule_search_locations[0])
    return _architectures_in(folder)


@functools.cache
def _architectures_in(folder: Path) -> list[str]:
    """Those of mlx-lm's package in ``folder``."""
    files = (folder / "models").glob("*.py")
    names = {path.stem for path in files if _MODEL_CLASS.search(path.read_text(encoding="utf-8"))}
    # Aliases live in mlx_lm.utils, whose import costs seconds and loads mlx.
    text = (folder / "utils.py").read_text(encoding="utf-8")
    table = re.search(r"MODEL_REMAPPING = \{(.*?)\n\}", text, re.S)
    if table:
        names |= set(re.findall(r'^\s+"([^"]+)":', table[1], re.M))
    return sorted(names)


def architecture_of(name: str, config: Mapping[str, Any], trust_remote_code: bool) -> str:
    """The configuration's ``model_type``, if mlx-lm has code for it.

    Raises:
        UserError: it has none, or the model brings code of its own that is not trusted.
    """
    architecture = str(config["model_type"])
    code = config.get("model_file")
    if code is not None and not trust_remote_code:
        raise _not_trusted(name, f"its own architecture code ({code})")
    known = known_architectures()
    if code is None and architecture not in known:
        raise UserError(f"model {name!r}: {unknown('architecture', architecture, known)}")
    return architecture


def files_in(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """The files of ``folder`` that match one of ``patterns``, by their path in it."""
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _sha256(folder: Path, cache: Cache) -> str:
    """SHA-256 over names and contents of the deciding files.

    Large files' hashes are kept with their size and modification time, so that a model of many GB
    is read once; small ones are read each time. In a folder that cannot be cached all are.
    """
    files = files_in(folder, (*_NUMBER_FILES, *TEXT_FILES))
    large = {n: p for n, p in files.items() if p.stat().st_size > ALWAYS_HASHED_BYTES}
    small = {name: sha256_file(path) for name, path in files.items() if name not in large}
    return _listing_sha256(small | (_kept_hashes(folder, large, cache) if large else {}))


def _kept_hashes(folder: Path, files: Mapping[str, Path], cache: Cache) -> dict[str, str]:
    """The files' own SHA-256 by name, from the cache where size and time are as they were."""
    stats = [(name, p.stat().st_size, p.stat().st_mtime_ns) for name, p in files.items()]
    store = cache.root / FINGERPRINTS / f"{content_key(str(folder.resolve()), stats)}.json"
    with suppress(UserError, KeyError, TypeError, AttributeError):
        known = read_object(store)
        if known["sha256"] == _listing_sha256(known["files"]):  # else the record is damaged
            return dict(known["files"])
    found = {name: sha256_file(path) for name, path in files.items()}
    try:
        write_json(store, {"sha256": _listing_sha256(found), "files": found})
    except UserError as error:
        print_message(f"tunebench: {error}; the model is hashed again next time")
    return found


def _listing_sha256(files: Mapping[str, str]) -> str:
    """SHA-256 of the sorted ``name hash`` lines, as ``sha256sum`` would list them."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()
