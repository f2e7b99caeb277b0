"""The structure keeps its bounds: sizes, circles, layers, and the pages that describe it."""

from __future__ import annotations

import ast
from pathlib import Path

import house
import pytest

ROOT = house.ROOT
FOLDERS = sorted(path.parent for path in (ROOT / "harness").rglob("__init__.py"))


@pytest.fixture(scope="module")
def figures() -> list[house.Figure]:
    return house.figures()


def test_every_figure_is_within_its_bound(figures: list[house.Figure]) -> None:
    assert [f"{f.name}: {f.text}" for f in figures if not f.kept] == []


def test_each_way_is_counted(figures: list[house.Figure]) -> None:
    assert len([f for f in figures if f.name.startswith("Way")]) == 3


def test_a_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "round_trip"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from round_trip import b\n")
    (package / "b.py").write_text("def late() -> None:\n    from round_trip import a\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(house, "PACKAGE", "round_trip")
    assert {"round_trip.a", "round_trip.b"} <= set(house.circle())


@pytest.mark.parametrize(
    "folder",
    [f for f in FOLDERS if f.name != "harness"],
    ids=lambda f: str(f.relative_to(ROOT)),
)
def test_a_folder_names_its_files(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    files = [p.name for p in folder.glob("*.py") if p.name != "__init__.py"]
    assert [name for name in files if name not in text] == []


def test_the_architecture_page_names_every_folder() -> None:
    page = house.ARCHITECTURE.read_text(encoding="utf-8")
    names = {folder.name for folder in FOLDERS if folder.name != "harness"}
    assert [name for name in sorted(names) if f"{name}/" not in page] == []


def test_each_step_of_a_way_exists_and_is_called_by_one_before_it() -> None:
    by_name = {str(p.relative_to(ROOT / "harness"))[:-3]: p for p in house.modules()}
    ways = {title: steps for title, steps in house.ways().items() if "measurement" not in title}
    assert len(ways) == 2
    for title, steps in ways.items():
        before = ""
        for module, function in steps:
            assert module in by_name, f"{title}: no module {module}.py"
            text = by_name[module].read_text(encoding="utf-8")
            assert f"def {function}(" in text, f"{title}: no {function} in {module}.py"
            assert not before or function in before, f"{title}: nothing calls {function}"
            before += text


def test_the_files_of_a_new_measurement_exist() -> None:
    (steps,) = (steps for title, steps in house.ways().items() if "measurement" in title)
    harness = ROOT / "harness"
    for module, _ in steps:
        assert (harness / module).is_dir() or (harness / f"{module}.py").is_file(), module


def test_a_stored_run_enters_each_folder_once() -> None:
    (steps,) = (steps for title, steps in house.ways().items() if "stored run" in title)
    folders = [module.split("/")[0] for module, _ in steps]
    assert [f for i, f in enumerate(folders) if f in folders[:i] and f != folders[i - 1]] == []
