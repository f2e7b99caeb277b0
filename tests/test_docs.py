"""The README names every option, variant, suite, command and fixture, and stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.__main__ import app
from harness.train.variants import shipped

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def options() -> list[str]:
    text = (ROOT / "harness" / "options.py").read_text(encoding="utf-8")
    return [*re.findall(r'(?:_value|_switch)\(\s*"(--[a-z-]+)"', text), "--strict"]


def fixtures() -> list[str]:
    text = (ROOT / "harness" / "plugin_fixtures.py").read_text(encoding="utf-8")
    found = re.findall(r'@pytest.fixture\(scope="session"\)\ndef (\w+)', text)
    found += re.findall(r"^(\w+) = _section\(", text, re.M)
    return [name for name in found if name not in ("seed_run", "strict_gates")]


def test_the_readme_is_under_150_lines() -> None:
    assert len(README.splitlines()) < 150


def test_there_are_options_and_fixtures_to_look_for() -> None:
    assert len(options()) >= 20
    assert len(fixtures()) >= 12


@pytest.mark.parametrize("option", options())
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}" in README or f" {option}" in README


@pytest.mark.parametrize("name", shipped())
def test_every_variant_is_documented(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", fixtures())
def test_every_fixture_is_documented(name: str) -> None:
    assert f"`{name}`" in README


def test_every_command_is_documented() -> None:
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    names += [group.name for group in app.registered_groups if group.name]
    assert len(names) >= 10
    assert [name for name in names if f"`{name}`" not in README] == []


def test_every_folder_of_the_harness_is_in_the_file_map() -> None:
    folders = [p.parent.name for p in (ROOT / "harness").glob("*/__init__.py")]
    assert len(folders) >= 10
    maps = " ".join(line for line in README.splitlines() if line.startswith("harness/"))
    assert [f for f in folders if f"{f}/ " not in maps] == []
