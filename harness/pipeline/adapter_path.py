"""The adapters of `--adapter-path`: the variants they stand for, their files, where they came from.

Folders and the variants named beside them -> all variants of the command (:func:`with_adapters`),
then, once the base is known, :class:`GivenAdapter` in mlx-lm's layout, or one :class:`UserError`.
Adapters that are trained here are found in ``stages``. Whether the weights fit the base is checked
by ``models/adapter.py``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from harness.bundled import PROJECT_ROOT
from harness.disk.cache import Cache
from harness.disk.files import content_key, sha256_file, shown_path
from harness.errors import UserError
from harness.models import peft
from harness.models.adapter import adapter_config, adapter_weights
from harness.models.config import read_object
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.schema.variant_result import Adapter
from harness.train.variant import NOTED, LoraParameters, Variant
from harness.train.variants import load_variants, with_changes

_NUMBERED = re.compile(r"(\d+)_adapters\.safetensors")
_DECIDED = ("fine_tune_type", "num_layers", "lora_parameters")
# What of the training that made an adapter its numbers do not depend on, or is another's file.
_NOT_TAKEN = NOTED | {"validate_at", "resume_adapter_file", "resume_adapter_sha256"}


@dataclass(frozen=True)
class AdapterSource:
    """The adapter that is measured: ``path`` None is the base itself."""

    path: Path | None
    sha256: str | None
    iterations: int | None
    source: Literal["trained", "cached", "given"]
    origin: Path | None = None
    """The folder that the user gave, where ``path`` is a copy in mlx-lm's layout."""

    def record(self, published: bool) -> Adapter | None:
        """As `results.json` holds it, that of a run which is published or of a local one; None for
        the base itself."""
        if self.path is None or self.sha256 is None:
            return None
        place = self.origin or self.path
        return Adapter(
            path=shown_path(place) if published else _in_home(place),
            sha256=self.sha256,
            iterations=self.iterations,
            source=self.source,
        )


def given_adapter(folder: Path, origin: Path | None = None) -> AdapterSource:
    """The adapter in ``folder``, as `--adapter-path` names it.

    Raises:
        UserError: the folder holds none.
    """
    file = adapter_weights(folder)
    try:
        iterations = adapter_config(folder).get("iters")
        iterations = iterations if isinstance(iterations, int) and iterations >= 0 else None
    except UserError:
        iterations = None  # loading names what is wrong with the configuration
    return AdapterSource(folder, sha256_file(file), iterations, "given", origin)


def named_by(folder: Path, key: Literal["model", "data"]) -> str:
    """What the configuration of the adapter in ``folder`` has for ``key``, empty for nothing. A
    path is relative to where its training ran, which the relative `adapter_path` that it wrote to
    tells."""
    config = adapter_config(folder)
    name = config.get(key)
    if not isinstance(name, str):
        return ""
    written, own = Path(str(config.get("adapter_path") or "/")).parts, folder.resolve().parts
    place = Path(*own[: -len(written)])
    elsewhere = own[-len(written) :] == written and place != Path.cwd()
    return str(place / name) if elsewhere and (place / name).is_dir() else name


def in_mlx_lm_layout(folder: Path, layers: int, cache: Cache) -> Path:
    """The adapter in ``folder`` as mlx-lm reads it: the folder itself, or a converted copy of a
    PEFT adapter in the cache, for a base of ``layers`` blocks.

    Raises:
        UserError: it cannot be converted, or the cache cannot be written.
    """
    config = read_object(folder / ADAPTER_CONFIG)
    if "peft_type" not in config:
        return folder
    adapter_config(folder)  # refuses what cannot be converted
    key = content_key("peft@1", config, layers, sha256_file(folder / peft.PEFT_FILE))
    return cache.build("adapters", key, lambda out: peft.convert(folder, config, layers, out))


def numbered(source: AdapterSource) -> dict[int, Path]:
    """The checkpoints of a given adapter by iteration: files such as
    ``0000100_adapters.safetensors``, which `mlx_lm.lora` leaves beside the last weights."""
    if source.path is None:
        return {}
    names = ((_NUMBERED.fullmatch(file.name), file) for file in source.path.iterdir())
    found = {int(name[1]): file for name, file in names if name}
    if source.iterations is not None:
        found[source.iterations] = source.path / ADAPTER_FILE
    return dict(sorted(found.items()))


def checkpoint_folder(source: AdapterSource, iteration: int, cache: Cache) -> Path:
    """The checkpoint of a given adapter after ``iteration`` iterations, as a folder of its own."""
    file, folder = numbered(source)[iteration], source.path
    assert folder is not None
    if file.name == ADAPTER_FILE:
        return folder
    key = content_key(sha256_file(file), sha256_file(folder / ADAPTER_CONFIG))

    def copy(out: Path) -> None:
        shutil.copyfile(file, out / ADAPTER_FILE)
        shutil.copyfile(folder / ADAPTER_CONFIG, out / ADAPTER_CONFIG)

    return cache.build("adapters", key, copy)


def check_unchanged(source: AdapterSource | None) -> None:
    """Refuse a given adapter that is no longer what it was when it was first looked at.

    Raises:
        UserError: else two adapters' numbers would stand in one record, under the first's SHA-256.
    """
    if source is None or source.path is None:
        return
    if sha256_file(source.path / ADAPTER_FILE) != source.sha256:
        raise UserError(
            f"adapter {source.path} was changed after the command was given. Give it again, and "
            "leave the files alone until it has ended."
        )


def with_adapters(
    named: Sequence[Variant],
    adapters: Sequence[tuple[str | None, Path]],
    overrides: Mapping[str, str],
) -> tuple[list[Variant], dict[str, Path]]:
    """The variants of a command with --adapter-path, and the folder of each that is an adapter's.

    Args:
        named: the variants of --variant.
        adapters: the names and folders of --adapter-path.
        overrides: --set.

    Raises:
        UserError: a folder holds no adapter, names collide, or --set changes what one decides.
    """
    trained = [variant for variant in named if variant.trains]
    in_place = len(trained) == 1 and len(adapters) == 1 and adapters[0][0] is None
    in_place = in_place and not trained[0].swept
    if in_place or not trained:
        for _, folder in adapters:
            check_overrides(overrides, folder)
    if in_place:
        folder = adapters[0][1]
        standing = [variant_from_adapter(v, folder) if v.trains else v for v in named]
        return standing, {trained[0].name: folder}
    given: dict[str, Path] = {}
    for word, folder in adapters:
        name = word or folder.resolve().name
        if name in {*given, *(variant.name for variant in named)} or not name.isprintable():
            raise UserError(
                f"--adapter-path {folder}: the name {name!r} is taken or not printable. Give one: "
                f"--adapter-path NAME={folder}"
            )
        given[name] = folder
    others = {k: v for k, v in overrides.items() if k.partition(".")[0] not in _DECIDED}
    found = [_variant_of(name, folder, others) for name, folder in given.items()]
    bases = [] if named else _bases(found, overrides)
    if taken := {variant.name for variant in bases} & given.keys():
        listed = ", ".join(f"--adapter-path NAME={given[name]}" for name in sorted(taken))
        raise UserError(f"an adapter is named as the base beside it is; name it: {listed}")
    return [*bases, *named, *found], given


def _variant_of(name: str, folder: Path, overrides: Mapping[str, str]) -> Variant:
    """The variant that the adapter in ``folder`` is by its own configuration."""
    config = adapter_config(folder)
    known = Variant.model_fields.keys() - _NOT_TAKEN
    settings = {key: config[key] for key in known if config.get(key) is not None}
    settings["lora_parameters"] = _lora_parameters(config)
    settings |= {"name": name, "description": f"the adapter of {shown_path(folder)}"}
    return _validated(with_changes(settings, overrides), name, folder)


def _bases(adapters: Sequence[Variant], overrides: Mapping[str, str]) -> list[Variant]:
    """The bases that the adapters sit on: `base`, and `base-of-NAME` of one with other bits."""
    (base,) = load_variants(["base"], overrides)
    kinds: dict[str, Variant] = {}
    for adapter in adapters:
        kinds.setdefault(content_key(adapter.config()["quantize"]), adapter)
    bare = next(iter(kinds.values())) if len(kinds) == 1 else None
    found = []
    for adapter in kinds.values():
        plain = adapter is bare or adapter.quantize is None
        name = "base" if plain else f"base-of-{adapter.name}"
        of = "" if adapter.quantize is None else f" {_bits(adapter.config()['quantize'])}"
        settings = {"name": name, "quantize": adapter.quantize, "seed": adapter.seed}
        if of:
            settings["description"] = f"the base{of}, as the adapter sits on it"
        found.append(base.model_copy(update=settings))
    return found


def _lora_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    lora = config.get("lora_parameters")
    known = LoraParameters.model_fields
    return {key: lora[key] for key in known if key in lora} if isinstance(lora, dict) else {}


def variant_from_adapter(variant: Variant, folder: Path) -> Variant:
    """``variant`` with the method, layers and LoRA parameters of a given adapter.

    The adapter's own configuration decides how mlx-lm applies it, not the variant file;
    counts and the stored configuration follow it.

    Raises:
        UserError: there is no adapter, or it is of another method than the variant.
    """
    config = adapter_config(folder)
    method = config.get("fine_tune_type", "lora")
    if method != variant.fine_tune_type:
        raise UserError(
            f"adapter {folder} is a {method} adapter, variant {variant.name!r} is "
            f"{variant.fine_tune_type}. Name the variant it was made as with --variant."
        )
    taken = {
        name: config[name]
        for name in ("fine_tune_type", "num_layers")
        if config.get(name) is not None
    }
    if isinstance(config.get("lora_parameters"), dict):
        taken["lora_parameters"] = _lora_parameters(config)
    return _validated({**variant.config(), **taken}, variant.name, folder)


def _validated(settings: Mapping[str, Any], name: str, folder: Path) -> Variant:
    try:
        return Variant.model_validate(settings)
    except ValidationError as error:
        problems = "; ".join(problem["msg"] for problem in error.errors())
        raise UserError(
            f"adapter {folder} does not fit variant {name!r}: {problems}. Name the "
            "variant it was made as with --variant."
        ) from error


def check_overrides(overrides: Mapping[str, str], folder: Path) -> None:
    """Refuse --set of what a given adapter decides."""
    refused = [key for key in overrides if key.partition(".")[0] in _DECIDED]
    if refused:
        raise UserError(
            f"--set {', '.join(refused)}: with --adapter-path the adapter decides "
            f"({folder / ADAPTER_CONFIG}). Leave it out."
        )


def other_base(variant: Variant, folder: Path) -> str:
    """A note when the adapter was trained on a base of other bits than the variant's; else "".

    Only tunebench's own adapters record the bits of their base. Measuring an adapter on another
    base is allowed, and gives another figure than measuring it on its own.
    """
    config = adapter_config(folder)
    mine = variant.config()["quantize"]
    if "quantize" not in config or config["quantize"] == mine:
        return ""
    return (
        f"adapter {folder} was trained on a base {_bits(config['quantize'])}, variant "
        f"{variant.name!r} puts it on one {_bits(mine)}: measured as asked"
    )


def _bits(spec: Any) -> str:
    if isinstance(spec, Mapping):
        return f"of {spec.get('bits')} bits"
    if spec == "source":
        return "with the bits of its file"
    return "not quantized" if spec is None else f"quantized to {spec!r}"


def _in_home(path: Path) -> str:
    """The path with `~` for the user's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def is_published(results_dir: Path) -> bool:
    """Whether runs there are meant for others: in results/, but not in results/runs/."""
    place = results_dir.resolve()
    published = PROJECT_ROOT / "results"
    return place.is_relative_to(published) and not place.is_relative_to(published / "runs")
