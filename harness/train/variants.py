"""Variants by name, file and command line: `fixtures/variants/*.yaml` or a YAML of the user's.

Input: what follows ``--variant``, ``--set`` and ``--sweep``. Output: checked :class:`Variant`
records, one a name, command line before file before default. Everything wrong with a file is
reported at once, the nearest allowed names first. Does not touch the model: :func:`check_against`
compares with its config once that is known, before any weight is loaded.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from reprlib import Repr
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from harness.bundled import FIXTURES
from harness.disk.files import content_key, sha256_file, user_path, without_password
from harness.endpoint.settings import endpoint_settings
from harness.errors import UserError, unknown
from harness.models.config import ModelConfig
from harness.models.quantize import QuantizeSpec
from harness.progress import print_message
from harness.train.variant import (
    COLUMN_KEYS,
    IGNORED_KEYS,
    NOTED,
    EndpointVariant,
    LoraParameters,
    LrSchedule,
    Variant,
    data_of,
    refuse_dora_bits,
)

FOLDER = FIXTURES / "variants"
MOST_VALUES = 10_000
"""Values of a variant file, far more than there are settings."""
_MOST_BYTES = 50_000
_SHOWN = 10

_SECTIONS: dict[str, type[BaseModel]] = {
    "lora_parameters": LoraParameters,
    "quantize": QuantizeSpec,
    "lr_schedule": LrSchedule,
}
_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, 60, 60, 60
_OURS = ("name", "resume_adapter_sha256", "swept")
_OTHER_NAMES = {
    "alpha": "mlx-lm has no alpha; write scale (= alpha / rank)",
    "lora_layers": "mlx-lm calls it num_layers since 0.19",
}
"""Keys of other tools and of mlx-lm's earlier versions."""
_QUANTIZED = {"qlora": "lora", "qdora": "dora"}
TAKEN_KEYS = ("model", "data", "hf_dataset")
"""mlx-lm's keys of a variant file that serve when the command names none (`named_in_files`)."""
_ENDPOINT = "url"
"""The key by which a file is that of an endpoint."""
_COMMAND_LINE = {"model": "--model", "data": "--dataset", "adapter_path": "--adapter-path"}


class _Loader(yaml.SafeLoader):
    """PyYAML with mlx-lm's reading of ``1e-5`` as a number, no repeated keys, and no bombs."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > MOST_VALUES:
            problem = f"with its aliases written out it has more than {MOST_VALUES:,} values"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(str(self.construct_object(key, deep=True)) for key, _ in node.value)
        for key, times in keys.items():
            if times > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is written twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _written_out(node: Any, known: dict[int, float]) -> float:
    """How many values a YAML node stands for, each alias counted as what it repeats."""
    if id(node) not in known:
        known[id(node)] = math.inf  # an alias to what holds it has no end
        inner: Any = () if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            inner = chain.from_iterable(inner)
        known[id(node)] = 1 + sum(_written_out(one, known) for one in inner)
    return known[id(node)]


# mlx_lm/lora.py: yaml_loader.add_implicit_resolver, without the base-60 form of YAML 1.1.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def shipped() -> list[str]:
    """Names of the variants in fixtures/variants, in alphabetical order."""
    return sorted(map(_shipped_name, FOLDER.rglob("*.yaml")))


def _shipped_name(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def load_variants(
    names: Sequence[str],
    overrides: Mapping[str, str] | None = None,
    seed: int | None = None,
    sweeps: Mapping[str, str] | None = None,
) -> list[Variant]:
    """The variants that the command line names, each once, in the order given.

    Args:
        names: shipped names, YAML paths, comma lists of either, ``all``.
        overrides: ``--set``'s dotted keys with their text, e.g. ``{"lora_parameters.rank": "16"}``;
            they apply to every variant.
        seed: ``--seed``; None leaves the file's own.
        sweeps: ``--sweep``'s dotted keys with their values, e.g. ``{"num_layers": "4,8"}``: in the
            place of each variant that they concern stand as many as they have combinations.

    Raises:
        UserError: an unknown name, a missing or wrong file, a colliding stem, a sweep that changes
            nothing.
    """
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    changes |= {key: _typed("--set", key, text) for key, text in (overrides or {}).items()}
    every = _swept_values(sweeps)
    ignored: dict[str, str] = {}
    found: dict[str, tuple[Path, Variant]] = {}
    for name, path in dict.fromkeys(_expand(names)):
        several = _of_file(name, path, changes, every, ignored)
        for variant in several:
            if variant.name in found:
                raise UserError(
                    f"two variants are named {variant.name!r}: {found[variant.name][0]} and "
                    f"{path}. A variant file is named by its stem: rename one of them."
                )
            found[variant.name] = (path, variant)
        if several[0].trains and not path.is_relative_to(FOLDER):
            left = _left(several[0])
            print_message(f"tunebench: {path.name} leaves to mlx-lm's defaults: {left}")
    if ignored:
        listed = ", ".join(f"{key} ({file})" for key, file in sorted(ignored.items()))
        print_message(f"tunebench: ignored in variant files: {listed}")
    loaded = [variant for _, variant in found.values()]
    _refuse_idle([*every], loaded)
    for variant in loaded:
        if variant.trains and (rest := variant.iters % variant.grad_accumulation_steps):
            print_message(
                f"tunebench: {variant.name}: the last {rest} of {variant.iters} iterations change "
                f"nothing, for an update takes {variant.grad_accumulation_steps} of them"
            )
    return loaded


def _of_file(
    name: str,
    path: Path,
    changes: Mapping[str, Any],
    sweeps: Mapping[str, Sequence[Any]],
    ignored: dict[str, str],
) -> list[Variant]:
    """The variant of a file, or those that the ``sweeps`` which concern it make of it.

    Raises:
        UserError: two of them are one.
    """
    plain = _load(name, path, changes, ignored)
    concerned = {key: values for key, values in sweeps.items() if plain.heeds(key)}
    if not concerned:
        return [plain]
    made: dict[str, Variant] = {}
    for values in product(*concerned.values()):
        swept = dict(zip(concerned, values, strict=True))
        end = "".join(f"-{_label(key, concerned)}{_in_a_name(swept[key])}" for key in swept)
        variant = _load(name + end, path, {**changes, **swept}, ignored)
        decides = variant.model_dump_json(exclude={"name"})
        if (other := made.setdefault(decides, variant)) is not variant:
            raise UserError(
                f"--sweep makes {other.name!r} and {variant.name!r} one variant: give each value "
                "once."
            )
    return [
        variant.model_copy(update={"swept": {key: _setting(variant, key) for key in concerned}})
        for variant in made.values()
    ]


def _label(key: str, swept: Mapping[str, Any]) -> str:
    """A swept key in a variant's name: its last part, the whole where another key ends like it."""
    last = key.rpartition(".")[2]
    alike = [other for other in swept if other.rpartition(".")[2] == last]
    return last if len(alike) == 1 else key


def _in_a_name(value: Any) -> str:
    """A swept value in a variant's name: `4`, `1e-5`, `adamw`. What a file's name cannot hold, or a
    disk that ignores case would confuse, is replaced and told apart by six digits of the value's
    key."""
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    text = re.sub(r"e([+-])0*(?=\d)", r"e\1", text) if isinstance(value, float) else text
    if isinstance(value, bool) or value is None:
        text = "null" if value is None else text.lower()
    if re.fullmatch(r"[a-z0-9._+-]{1,40}", text):
        return text
    return f"{re.sub(r'[^a-z0-9._+-]', '_', text.lower())[:40]}-{content_key(value)[:6]}"


def _setting(variant: Variant, key: str) -> Any:
    """The value that a dotted key has in a variant's effective file."""
    value: Any = variant.config()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _refuse_idle(keys: Sequence[str], loaded: Sequence[Variant]) -> None:
    """Refuse a swept key that no variant heeds."""
    for key in keys:
        if not any(key in variant.swept for variant in loaded):
            names = ", ".join(variant.name for variant in loaded) or "none"
            raise UserError(
                f"--sweep {key} changes nothing of the variants named ({names}). Name one that it "
                "concerns with --variant."
            )


def named_by_all_alone(names: Sequence[str], sweeps: Mapping[str, str] | None = None) -> set[str]:
    """The shipped variants that a command line names by no other word than ``all``."""
    words = _words(names)
    alone = {*shipped()}.difference(words) if "all" in words else set()
    values = _swept_values(sweeps)
    files = {name: FOLDER / f"{name}.yaml" for name in alone}
    return {v.name for name in alone for v in _of_file(name, files[name], {}, values, {})}


def _swept_values(sweeps: Mapping[str, str] | None) -> dict[str, list[Any]]:
    """The values of each ``--sweep``: a YAML list without its brackets."""
    return {key: _typed("--sweep", key, f"[{text}]") for key, text in (sweeps or {}).items()}


def _words(names: Sequence[str]) -> list[str]:
    return [part.strip() for name in names for part in name.split(",")]


def named_in_files(names: Sequence[str], key: str) -> dict[str, str]:
    """What the user's variant files among ``names`` give for ``key`` of :data:`TAKEN_KEYS`, by
    file."""
    files = dict.fromkeys(path for _, path in _expand(names) if not path.is_relative_to(FOLDER))
    read = {str(path): _read(path) for path in files}
    found = {
        file: data_of(values) if key == "data" else values.get(key)
        for file, values in read.items()
        if _ENDPOINT not in values
    }
    return {
        file: value if isinstance(value, str) else json.dumps(value)
        for file, value in found.items()
        if value is not None and value is not False
    }


def with_changes(values: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    """The settings of a variant with --set's dotted keys applied.

    Raises:
        UserError: a key is not known, or a text is no YAML.
    """
    changed = dict(values)
    for key, text in overrides.items():
        _apply(changed, key.split("."), _typed("--set", key, text))
    return changed


def _expand(names: Sequence[str]) -> list[tuple[str, Path]]:
    """``(name, file)`` of everything named, comma lists and ``all`` taken apart."""
    known = shipped()
    wanted: list[tuple[str, Path]] = []
    for word in _words(names):
        if word == "all":
            wanted += [(name, FOLDER / f"{name}.yaml") for name in known]
        elif word in known:
            wanted.append((word, FOLDER / f"{word}.yaml"))
        else:
            wanted.append(_user_file(word, known))
    return wanted


def _user_file(word: str, known: Sequence[str]) -> tuple[str, Path]:
    path = user_path(word)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        raise unknown("variant", word, [*known, "all"], "A path to a YAML file works too.")
    if not path.is_file():
        raise UserError(f"variant file {word} does not exist. Shipped: {', '.join(known)}.")
    path = path.resolve()
    if path.is_relative_to(FOLDER):
        return _shipped_name(path), path
    if path.stem in known or path.stem == "all":
        raise UserError(
            f"variant file {word} is named {path.stem!r} by its stem, as is a shipped variant. "
            "Rename the file."
        )
    if not path.stem.isprintable():
        raise UserError(
            f"variant file {word!r}: its stem, which names the variant, holds control characters. "
            "Rename the file."
        )
    return path.stem, path


def _typed(option: str, key: str, text: str) -> Any:
    """The YAML value of ``--set KEY=TEXT`` or ``--sweep``, once the key is known to exist."""
    section = key.partition(".")[0]
    if section in IGNORED_KEYS:
        instead = f" Use {_COMMAND_LINE[section]}." if section in _COMMAND_LINE else ""
        raise UserError(f"{option} {key}: tunebench decides this itself.{instead}")
    if section != "optimizer_config" and key not in _settable():
        raise unknown(f"{option} key", key, _settable())
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"{option} {key}={text[:60]}: not a YAML value ({_one_line(error)})."
        ) from error


def _settable() -> list[str]:
    keys = [key for key in Variant.model_fields if key not in _OURS and key != "seed"]
    return keys + [f"{name}.{key}" for name, kind in _SECTIONS.items() for key in kind.model_fields]


def _load(name: str, path: Path, changes: Mapping[str, Any], ignored: dict[str, str]) -> Variant:
    """One file with the changes applied; ignored keys are added to ``ignored``."""
    values = _read(path)
    if _ENDPOINT in values:
        description = str(values.pop("description", None) or "")
        found = endpoint_settings(values, f"{name!r} ({path})")
        return EndpointVariant(name=name, description=description, endpoint=found)
    taken = {*TAKEN_KEYS, *(COLUMN_KEYS if isinstance(values.get("data"), str) else ())}
    for key in sorted(IGNORED_KEYS & values.keys()):
        del values[key]
        if key not in taken:
            ignored.setdefault(key, path.name)
    for key, value in changes.items():
        _apply(values, key.split("."), value)
    for key in [key for key, value in values.items() if value is None]:
        del values[key]  # mlx-lm takes a null for "not given"
    values["name"] = name
    resume = values.get("resume_adapter_file")
    if isinstance(resume, str):
        values["resume_adapter_file"], digest = _resume_file(resume, path)
        values["resume_adapter_sha256"] = digest
    try:
        return Variant.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        mistakes = "; ".join(_mistake(detail) for detail in faults[:_SHOWN])
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UserError(f"variant {name!r} ({path}): {mistakes}{more}.") from error


def _left(variant: Variant) -> str:
    """The settings in force that a variant's file does not name, as `KEY=VALUE`."""
    left: dict[str, Any] = {}
    for key in Variant.model_fields.keys() - NOTED - {"quantize", "validate_at"}:
        value = getattr(variant, key)
        if isinstance(value, LoraParameters):
            inner = value.model_fields_set if key in variant.model_fields_set else set()
            held = value.model_dump(exclude=inner, exclude_none=True)
            left |= {f"{key}.{name}": held[name] for name in held}
        elif key not in variant.model_fields_set and value not in (None, {}):
            left[key] = int(value) if key == "clear_cache_threshold" else value
    return ", ".join(f"{key}={value}" for key, value in sorted(left.items())) or "nothing"


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"variant file {path} has more than {_MOST_BYTES:,} bytes.")
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        shown = without_password(_one_line(error))
        raise UserError(f"variant file {path} is not YAML: {shown}.") from None
    except OSError as error:
        raise UserError(f"variant file {path} cannot be read: {error.strerror}.") from error
    if not isinstance(values, dict):
        raise UserError(
            f"variant file {path} holds no settings: it must be a mapping such as "
            "'fine_tune_type: lora' (see fixtures/variants)."
        )
    for key in _OURS:
        if key in values:
            raise UserError(f"variant file {path}: {key} is set by tunebench; remove the line.")
    return {str(key): value for key, value in values.items()}


def _apply(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a dotted key, making the sections on the way."""
    for key in keys[:-1]:
        inner = values.get(key)
        values[key] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[key]
    values[keys[-1]] = value


def _resume_file(text: str, path: Path) -> tuple[str, str]:
    """Path and SHA-256 of the adapter file to start from.

    It lies in the working folder, where mlx-lm looks for it, or beside the variant file ``path``.
    """
    for candidate in (user_path(text), path.parent / text):
        if candidate.is_file():
            if candidate.suffix != ".safetensors":
                raise UserError(
                    f"resume_adapter_file {text!r} ({path}): only .safetensors is read."
                )
            return str(candidate.resolve()), sha256_file(candidate)
    raise UserError(f"resume_adapter_file {text!r} ({path}) does not exist.")


def _mistake(detail: Any) -> str:
    """One validation error in our wording."""
    parts = [str(part) for part in detail["loc"]]
    *section, last = [part for part in parts if part != "specified"] or [""]
    where = ".".join([*section, last])
    if section and section[-1] == "quantize" and last == "source":
        return f"quantize={_SHORT.repr(detail['input'])}: must be source, or a mapping with bits"
    if detail["type"] == "extra_forbidden":
        if last in _OTHER_NAMES:
            return f"{where}: {_OTHER_NAMES[last]}"
        allowed = _SECTIONS[section[-1]].model_fields if section else Variant.model_fields
        error = unknown("key", where if not section else last, set(allowed) - set(_OURS))
        return str(error).rstrip(".")
    text = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if detail["type"].startswith("byte_size"):
        text = "must be bytes, or a number with K, M or G"
    if last == "fine_tune_type" and str(detail["input"]).lower() in _QUANTIZED:
        text += f". Write fine_tune_type: {_QUANTIZED[detail['input'].lower()]} and quantize: "
        text += "{bits: 4}"
    got = "" if isinstance(detail["input"], Mapping) else f"={_SHORT.repr(detail['input'])}"
    return f"{where}{got}: {text}" if where else text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def check_against(variant: Variant, config: Mapping[str, Any]) -> None:
    """Refuse what the base model's ``config.json`` cannot carry, before weights are loaded.

    Raises:
        UserError: more layers than the model has, or what :func:`check_packed` refuses.
    """
    check_layers(variant, config)
    check_packed(variant, config)


def check_layers(variant: Variant, config: Mapping[str, Any]) -> None:
    """Raises:
    UserError: more layers than the model has.
    """
    layers = ModelConfig(config).layers
    if variant.trains and layers is not None and variant.num_layers > layers:
        raise UserError(
            f"variant {variant.name!r}: num_layers={variant.num_layers}, but the model has "
            f"{layers} layers. Use --set num_layers={layers}, or -1 for all."
        )


def check_packed(variant: Variant, config: Mapping[str, Any]) -> None:
    """Refuse what a base that is quantized already cannot have.

    Whether ``quantize`` suits it is ``models/quantize.py``'s.

    Raises:
        UserError: ``full``, or ``dora`` where it is quantized to an odd width.
    """
    packed = ModelConfig(config).quantization
    if not packed:
        return
    if variant.fine_tune_type == "full":
        raise UserError(
            f"variant {variant.name!r}: fine_tune_type full needs a base that is not quantized "
            "(packed weights have no gradient). Use a lora variant: on this base it is QLoRA."
        )
    if variant.fine_tune_type == "dora" and "bits" in packed:
        try:
            refuse_dora_bits(int(packed["bits"]))
        except ValueError as error:
            raise UserError(f"variant {variant.name!r}: {error}.") from error
