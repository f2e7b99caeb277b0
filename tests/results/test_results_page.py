"""The HTML page: self-contained, safe against its own content, small, and working in a browser."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from results_sample import MemoryRun, memory_run, page_of, report_of

from harness.data.prompts import style
from harness.data.sources.resolve import resolve_dataset
from harness.markdown import visible
from harness.report.columns import columns_of
from harness.report.page import explorer
from harness.report.page.page import compact, report_html, script_json
from harness.runs.store import RunRows
from harness.schema.results import GateResult

CHROMIUM = shutil.which("chromium")


def on_mini(run: MemoryRun) -> MemoryRun:
    """The sample run as if its questions were mini's, with gold as every text."""
    mini = resolve_dataset("mini")
    dataset = run.results.dataset.model_copy(update={"sha256": mini.sha256})
    predictions = {}
    for name, rows in run.rows.predictions.items():
        predictions[name] = []
        for row in rows:
            table = mini.test.tables[mini.test.examples[row.id].table_id]
            text = f" SELECT {table.header[0]} FROM {table.id}"
            read = {"text": text, "query": {"sel": 0, "agg": 0, "conds": []}}
            changed = row.model_copy(update={"table_id": table.id, **read})
            predictions[name].append(changed)
    return dataclasses.replace(
        run,
        results=run.results.model_copy(update={"dataset": dataset}),
        rows=dataclasses.replace(run.rows, predictions=predictions),
    )


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(on_mini(memory_run()))


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    value: dict[str, Any] = json.loads(found[1])
    return value


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    loaded = re.findall(r'\b(?:src|href|action|srcset)="([^"]*)"', page)
    assert all(link.startswith(("#", "data:")) for link in loaded), loaded
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_explorer_holds_question_table_gold_and_answers(page: str) -> None:
    data = data_of(page)
    mini = resolve_dataset("mini")
    assert data["variants"] == ["base", "lora", "qlora"]
    assert data["total"] == 60
    first = data["examples"][0]
    assert first["q"] == mini.test.examples[0].question
    assert first["gold"]["rows"] is not None
    assert first["conds"] == len(mini.test.examples[0].gold.conds)
    assert len(first["v"]) == 3
    assert data["tables"][first["table"]]["header"]
    ran = [v for example in data["examples"] for v in example["v"] if v.get("rows")]
    assert ran


def test_without_the_dataset_the_texts_are_still_there() -> None:
    data = explorer.explorer(columns_of([memory_run()]))
    assert data["known"] is False
    assert data["examples"][0]["v"][0]["text"].startswith(" SELECT")


def test_text_cannot_leave_its_place() -> None:
    evil = "</script><script>alert(1)</script><!-- \u2028"
    run = memory_run()
    rows = [row.model_copy(update={"text": evil}) for row in run.rows.predictions["lora"]]
    page = page_of(dataclasses.replace(run, rows=RunRows(predictions={"lora": rows})), charts={})
    assert page.count("</script>") == 2
    assert data_of(page)["examples"][0]["v"][0]["text"] == visible(evil)
    assert json.loads(script_json({"a": evil})) == {"a": visible(evil)}


def test_raw_html_in_the_report_is_text() -> None:
    html = report_html(
        "| a |\n|:--|\n| <b>x</b> |\n\n<sub>n = 1<br>m</sub>\n\n<script>1</script>", {}
    )
    assert "<b>" not in html
    assert "<script>" not in html
    assert "<sub>n = 1<br>m</sub>" in html


def test_a_verdict_has_its_colour_beside_its_word() -> None:
    html = report_html("| a | b |\n|:--|--:|\n| **better** | **worse** |\n| **x** | y |", {})
    assert '<td class="good" style="text-align:left"><strong>better</strong></td>' in html
    assert '<td class="bad" style="text-align:right"><strong>worse</strong></td>' in html
    assert html.count("class=") == 3  # and the box that a wide table scrolls in


def test_markup_of_ours_inside_a_block_of_code_is_text() -> None:
    html = report_html("````\n```\n</details>\n<sub>x</sub>\n````\n\n<sub>y</sub>", {})
    assert "&lt;/details&gt;" in html
    assert "&lt;sub&gt;x" in html
    assert "<sub>y</sub>" in html


def test_every_section_is_in_the_contents_and_every_fold_is_closed(page: str) -> None:
    listed = re.findall(r'<a href="#([a-z-]+)">', page.partition("</nav>")[0])
    assert listed[0] == "report"
    assert listed[-1] == "explorer"
    assert {"comparisons", "execution-accuracy", "loss", "cost", "fusing"} <= {*listed}
    assert all(f'id="{name}"' in page for name in listed)
    assert page.count("<details><summary>") == page.count("</details>") > 5


def test_the_explorer_holds_prompt_gold_as_it_is_asked_for_and_what_gates_broke() -> None:
    run = on_mini(memory_run())
    gate = GateResult(
        metric="ex", variant="lora", baseline=0.7, value=0.5, direction="higher",
        threshold=0.6, verdict="fail", reason="worse", broken=[3, 5], fixed=[],
    )  # fmt: skip
    judged = run.results.model_copy(update={"gates": [gate]})
    data = data_of(page_of(dataclasses.replace(run, results=judged)))
    mini = resolve_dataset("mini").test
    asked, table = mini.examples[0], mini.tables[mini.examples[0].table_id]
    first = data["examples"][0]
    assert first["prompt"] == style("dialect").prompt(asked.question, table)
    assert first["gold"]["text"] == style("dialect").completion(asked.gold, table).strip()
    assert data["gates"] == [{"name": "lora: execution accuracy", "ids": [3, 5]}]
    lucky = [row.id for row in run.rows.predictions["qlora"] if row.ex and not row.ex_hardened]
    assert [e["id"] for e in data["examples"] if e["v"][2].get("lucky")] == lucky != []


def test_the_examples_that_changed_are_links_into_the_explorer(page: str) -> None:
    ids = set(re.findall(r'<a href="#example-(\d+)">\1</a>', page))
    assert ids
    assert ids <= {str(example["id"]) for example in data_of(page)["examples"]}
    report = report_of(on_mini(memory_run()))
    listed = ",".join(re.findall(r"^Examples (?:fixed|broken) by [^:]*: (.*)\.$", report, re.M))
    assert ids == set(re.findall(r"\d+", listed))


def many(count: int) -> MemoryRun:
    """The sample's answers repeated to ``count`` examples."""
    run = memory_run()
    predictions = {
        name: [rows[i % 60].model_copy(update={"id": i}) for i in range(count)]
        for name, rows in run.rows.predictions.items()
    }
    return dataclasses.replace(run, rows=RunRows(predictions=predictions))


@pytest.mark.slow
def test_five_hundred_examples_of_three_variants_stay_under_five_megabytes() -> None:
    assert len(page_of(many(500)).encode()) < 5_000_000


def kept(data: dict[str, Any]) -> list[dict[str, Any]]:
    found = [example for example in data["examples"] if "text" in example["v"][0]]
    assert [example.get("full", 0) for example in data["examples"]].count(1) == len(found)
    return found


def test_above_two_thousand_disagreements_and_a_sample_of_the_others_are_kept_in_full() -> None:
    data = explorer.explorer(columns_of([many(2400)]))
    full = kept(data)
    differ = [e for e in data["examples"] if len({v["ok"] for v in e["v"]}) > 1]
    assert data["total"] == 2400
    assert len(full) == explorer.FULL_EXAMPLES
    assert {e["id"] for e in differ} < {e["id"] for e in full}
    assert f"the {len(differ):,} on which variants disagree" in data["note"]
    assert f"{2000 - len(differ):,} of the {2400 - len(differ):,} others" in data["note"]
    assert explorer.explorer(columns_of([many(500)]))["note"] == ""


def test_of_more_disagreements_than_a_page_keeps_a_sample_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explorer, "FULL_EXAMPLES", 100)
    data = explorer.explorer(columns_of([many(600)]))
    differ = [e for e in data["examples"] if len({v["ok"] for v in e["v"]}) > 1]
    assert len(differ) > 100
    assert len(kept(data)) == 100
    assert {e["id"] for e in kept(data)} < {e["id"] for e in differ}
    assert f"a random sample (seed 0) of 100 of the {len(differ):,} on which" in data["note"]
    monkeypatch.setattr(explorer, "FULL_ANSWERS", 90)
    assert len(kept(explorer.explorer(columns_of([many(600)])))) == 90 // 3


def test_verdicts_that_many_examples_share_are_written_once() -> None:
    data = explorer.explorer(columns_of([many(2400)]))
    small = compact(data)
    assert len(json.dumps(small)) < len(json.dumps(data))
    for before, after in zip(data["examples"], small["examples"], strict=True):
        given = after["v"] if after.get("full") else [small["verdicts"][at] for at in after["v"]]
        assert given == before["v"]  # as page.js does


def test_one_variant_keeps_a_sample_that_is_not_picked_by_outcome() -> None:
    run = dataclasses.replace(many(6000), variant="lora")
    data = explorer.explorer(columns_of([run]))
    full = kept(data)
    assert len(full) == 2000
    assert "a random sample (seed 0) of 2,000 of them, right and wrong alike" in data["note"]
    share = [
        sum(bool(e["v"][0]["ok"]) for e in part) / len(part) for part in (full, data["examples"])
    ]
    assert share[0] == pytest.approx(share[1], abs=0.03)  # about two standard errors
    assert full == kept(explorer.explorer(columns_of([run])))


@pytest.mark.slow
def test_runs_of_one_name_keep_their_own_answers() -> None:
    first = on_mini(memory_run("ci"))
    other = {
        name: [row.model_copy(update={"text": " SELECT nothing", "query": None}) for row in rows]
        for name, rows in first.rows.predictions.items()
    }
    second = dataclasses.replace(
        first, folder=Path("elsewhere/ci"), rows=RunRows(predictions=other)
    )
    data = explorer.explorer(columns_of([first, second]))
    assert len(set(data["variants"])) == len(data["variants"]) == 6
    ran = [example["v"] for example in data["examples"] if example["v"][1].get("rows")]
    assert ran
    assert all(v[4].get("rows") is None for v in ran)


def test_examples_of_different_data_do_not_stand_side_by_side() -> None:
    one, two = memory_run("one"), memory_run("two")
    dataset = two.results.dataset.model_copy(update={"sha256": "cc" * 32})
    two = dataclasses.replace(two, results=two.results.model_copy(update={"dataset": dataset}))
    data = explorer.explorer(columns_of([one, two]))
    assert data["examples"] == data["variants"] == []
    assert "different data" in data["note"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs `pip install playwright` and Debian's chromium"
    )
    if CHROMIUM is None:
        pytest.skip("needs a chromium on the path (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_works_in_a_browser(browser: Any, page: str, tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "index.html"
    file.write_text(page, encoding="utf-8")
    tab = browser.new_context(color_scheme=scheme).new_page()
    faults: list[str] = []
    tab.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(file.as_uri())
    examples = data_of(page)["examples"]
    broken = [e["id"] for e in examples if e["v"][1]["ok"] and e["v"][2]["ok"] is False]
    tab.select_option("#from", label="lora")
    tab.select_option("#show", "broken")
    assert tab.locator("#count").inner_text() == f"{len(broken)} of 60 examples"
    assert tab.locator("#list article").count() == len(broken)
    tab.fill("#search", "no such words anywhere")
    assert tab.locator("#count").inner_text() == "0 of 60 examples"
    tab.goto(f"{file.as_uri()}#example-57")
    tab.wait_for_function("document.activeElement.id === 'example-57'")
    tab.keyboard.press("k")
    assert tab.evaluate("document.activeElement.id") == "example-56"
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "search"
    tab.keyboard.press("Escape")
    tab.select_option("#view", "table")
    assert tab.locator("#lines tbody tr").count() == 50
    tab.locator("#lines a", has_text="#3").first.click()
    tab.wait_for_function("document.activeElement.id === 'example-3'")
    assert tab.input_value("#view") == "cards"
    tab.fill("#search", "#12")
    assert tab.locator("#count").inner_text() == "1 of 60 examples"
    tab.fill("#search", "")
    tab.select_option("#show", "wrong")
    wrong = [e["id"] for e in examples if e["v"][2]["ok"] is False]
    assert tab.locator("#count").inner_text() == f"{len(wrong)} of 60 examples"
    assert "show=wrong" in tab.url
    tab.reload()
    assert tab.locator("#count").inner_text() == f"{len(wrong)} of 60 examples"
    heads = tab.locator("#report table").first.locator("th button")
    heads.nth(1).click()
    cells = tab.locator("#report table").first.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert cells == sorted(cells, key=float)
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")
    assert faults == []


STATES = {
    "fixed": (False, True),
    "broken": (True, False),
    "both-wrong": (False, False),
    "both-right": (True, True),
}


@pytest.mark.slow
def test_every_filter_shows_what_the_data_say(browser: Any, page: str, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    file.write_text(page, encoding="utf-8")
    tab = browser.new_page()
    tab.goto(file.as_uri())
    examples = data_of(page)["examples"]
    tab.select_option("#from", label="lora")

    def counted(**chosen: str) -> int:
        for name, value in chosen.items():
            tab.select_option(f"#{name}", value)
        shown = int(tab.locator("#count").inner_text().split(" of ")[0])
        for name in chosen:
            tab.select_option(f"#{name}", "all" if name == "show" else "")
        return shown

    for name, (before, after) in STATES.items():
        wanted = [e for e in examples if (e["v"][1]["ok"], e["v"][2]["ok"]) == (before, after)]
        assert counted(show=name) == len(wanted), name
    pairs = [(e, {v.get("fail") for v in e["v"][1:]}) for e in examples]
    for kind in ("unknown_column", "unsupported"):
        assert counted(failure=kind) == sum(kind in fails for _, fails in pairs) > 0
    for aggregate in {e["agg"] for e in examples}:
        assert counted(agg=aggregate) == sum(e["agg"] == aggregate for e in examples)
    for number in {e["conds"] for e in examples}:
        assert counted(conds=str(number)) == sum(e["conds"] == number for e in examples)
    both = [e for e in examples if e["agg"] == "none" and e["conds"] == 1]
    assert counted(agg="none", conds="1") == len(both)
    word = examples[4]["q"].split()[-1].strip("?").upper()
    tab.fill("#search", word)
    assert "#example-4" in [f"#{a.get_attribute('id')}" for a in tab.locator("article").all()]


@pytest.mark.slow
def test_the_whole_of_wikisql_opens_with_as_much_on_the_screen_as_a_hundredth(
    browser: Any, tmp_path: Path
) -> None:
    """What a browser lays out decides how long a page takes to open; data alone cost little."""
    laid_out = []
    for count in (160, 15_878):
        file = tmp_path / f"{count}.html"
        file.write_text(page_of(many(count)), encoding="utf-8")
        tab = browser.new_page()
        tab.goto(file.as_uri())
        tab.wait_for_selector("#example-0")
        laid_out.append(tab.evaluate("document.querySelectorAll('*').length"))
    assert laid_out[1] < 1.2 * laid_out[0]


@pytest.mark.slow
def test_a_large_page_says_what_it_keeps_and_shows_it(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    run = dataclasses.replace(many(2400), variant="lora")
    file.write_text(page_of(run), encoding="utf-8")
    tab = browser.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(file.as_uri())
    assert "a random sample (seed 0) of 2,000" in tab.locator("#kept").inner_text()
    tab.select_option("#show", "full")
    assert tab.locator("#count").inner_text() == "2000 of 2400 examples"
    assert "SELECT" in tab.locator("#list article").first.inner_text()
    tab.select_option("#show", "all")
    bare = next(e["id"] for e in data_of(page_of(run))["examples"] if not e.get("full"))
    tab.goto(f"{file.as_uri()}#example-{bare}")
    tab.wait_for_selector(f"#example-{bare}")
    assert "Not among the examples kept in full" in tab.locator(f"#example-{bare}").inner_text()
    assert faults == []


@pytest.mark.slow
def test_runs_of_one_name_have_columns_of_their_own(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    run = on_mini(memory_run("ci"))
    rows = {
        name: [row.model_copy(update={"ex": not row.ex}) for row in rows]
        for name, rows in run.rows.predictions.items()
    }
    other = dataclasses.replace(run, folder=Path("elsewhere/ci"), rows=RunRows(predictions=rows))
    file.write_text(page_of(run, other), encoding="utf-8")
    tab = browser.new_page()
    tab.goto(file.as_uri())
    names = tab.locator("#from option").all_inner_texts()
    assert len(set(names)) == 6
    tab.select_option("#from", label="nowhere/ci:lora")
    tab.select_option("#to", label="elsewhere/ci:lora")
    tab.select_option("#show", "both-right")
    assert tab.locator("#count").inner_text() == "0 of 60 examples"
    tab.select_option("#show", "fixed")
    right = sum(row.ex is False for row in run.rows.predictions["lora"])
    assert tab.locator("#count").inner_text() == f"{right} of 60 examples"
