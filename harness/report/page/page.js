"use strict";
// The explorer: filters an index of examples and draws fifty at a time. Everything from a model or
// a table goes into the page as text nodes, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  for (const e of data.examples) if (!e.full) e.v = e.v.map((place) => data.verdicts[place]);
  const STEP = 50;
  const byId = (id) => document.getElementById(id);
  const list = byId("list"), more = byId("more"), count = byId("count");
  const controls =
    ["search", "from", "to", "show", "failure", "agg", "conds", "gate", "view"].map(byId);
  const [search, from, to, show, failure, agg, conds, gate, view] = controls;
  let found = [], drawn = 0;

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (className) element.className = className;
    return element;
  }
  function options(select, values, chosen) {
    for (const [value, label] of values) {
      const option = make("option", label);
      option.value = value;
      select.append(option);
    }
    if (chosen !== undefined) select.value = chosen;
  }
  const distinct = (values) => [...new Set(values)].sort().map((value) => [value, value]);

  const names = data.variants.map((name, place) => [place, name]);
  options(from, names, 0);
  options(to, names, names.length - 1);
  options(failure, distinct(data.examples.flatMap((e) => e.v.flatMap((v) => (v && v.fail) || []))));
  options(agg, distinct(data.examples.flatMap((e) => e.agg ?? [])));
  options(conds, distinct(data.examples.flatMap((e) => e.conds === undefined ? [] : String(e.conds))));
  for (const select of [agg, conds]) select.disabled = !data.known;
  options(gate, data.gates.map((one, place) => [place, one.name]));
  byId("gated").hidden = !data.gates.length;
  const initial = new Map(controls.map((control) => [control.id, control.value]));

  const words = data.examples.map((e) => [
    `#${e.id}`, e.q, e.table, e.gold && e.gold.sql,
    ...e.v.flatMap((v) => v ? [v.text, v.sql] : []),
  ].filter(Boolean).join("\n").toLowerCase());

  function state(a, b) {
    if (!a || !b || a.ok === null || b.ok === null) return "ungraded";
    if (a.ok) return b.ok ? "both-right" : "broken";
    return b.ok ? "fixed" : "both-wrong";
  }
  function matches(example, place) {
    const a = example.v[from.value], b = example.v[to.value];
    if (show.value === "full") { if (!example.full) return false; }
    else if (show.value === "wrong") { if (!b || b.ok !== false) return false; }
    else if (show.value === "lucky") { if (!b || !b.lucky) return false; }
    else if (show.value !== "all" && state(a, b) !== show.value) return false;
    if (failure.value && ![a, b].some((v) => v && v.fail === failure.value)) return false;
    if (agg.value && example.agg !== agg.value) return false;
    if (conds.value && String(example.conds) !== conds.value) return false;
    if (gate.value && !data.gates[gate.value].ids.includes(example.id)) return false;
    const needle = search.value.trim().toLowerCase();
    if (/^#\d+$/.test(needle)) return needle === `#${example.id}`;
    return !needle || words[place].includes(needle);
  }
  function cell(value) {
    return value === null ? "NULL" : String(value);
  }
  function grid(header, rows, extra) {
    const wide = make("div", null, "wide");
    wide.tabIndex = 0;
    const table = make("table");
    if (header) {
      const line = make("tr");
      for (const name of header) line.append(make("th", name));
      table.append(line);
    }
    for (const row of rows) {
      const line = make("tr");
      for (const value of row) line.append(make("td", cell(value)));
      table.append(line);
    }
    wide.append(table);
    if (extra) wide.append(make("span", `and ${extra} more`, "note"));
    return wide;
  }
  function result(box, part) {
    if (part.rows === undefined) return;
    if (part.rows === null) box.append(make("p", "did not run", "note"));
    else if (!part.rows.length) box.append(make("p", "no rows", "note"));
    else box.append(grid(null, part.rows, part.more));
  }
  // The words of `text` beside those of `other` by their longest common subsequence: `mark` for a
  // word that `other` lacks, `del` for a word that `text` lacks.
  function marked(text, other) {
    const split = (value) => value.match(/'[^']*'|"[^"]*"|[\p{L}\p{N}_.]+|\s+|./gsu) ?? [];
    const a = split(text), b = split(other), pre = make("pre");
    if (a.length * b.length > 250000) {
      pre.append(text);
      return pre;
    }
    const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
      }
    }
    const lacking = (word) => { if (word.trim()) pre.append(make("del", word), " "); };
    let j = 0;
    for (let i = 0; i < a.length; i++) {
      while (j < b.length && a[i] !== b[j] && best[i][j + 1] === best[i][j]) lacking(b[j++]);
      if (j < b.length && a[i] === b[j]) {
        pre.append(a[i]);
        j++;
      } else pre.append(a[i].trim() ? make("mark", a[i]) : a[i]);
    }
    while (j < b.length) lacking(b[j++]);
    return pre;
  }
  // The smallest table on which an answer that is right by luck parts from gold.
  function parting(box, parts) {
    const details = make("details");
    details.append(make("summary", "right by luck: the smallest table on which it is wrong"));
    details.append(grid(parts.columns, parts.rows), make("p", "gold there:", "note"));
    result(details, { rows: parts.gold });
    details.append(make("p", "this answer there:", "note"));
    result(details, { rows: parts.answer });
    box.append(details);
  }
  function answer(name, v, gold) {
    const kind = !v || v.ok === null ? "ungraded" : v.ok ? "right" : "wrong";
    const box = make("div", null, kind);
    box.append(make("b", name));
    if (!v) return box;
    if (v.fail) box.append(make("p", `failure: ${v.fail}${v.why ? `, ${v.why}` : ""}`, "note"));
    if (v.text !== undefined) {
      const text = (v.text ?? "").trim();
      const beside = text && gold && gold.text && !v.fail && v.ok === false;
      box.append(beside ? marked(text, gold.text) : make("pre", text || "(empty)"));
    }
    if (v.lucky && !v.parts) box.append(make("p", "right by luck: wrong on a changed table", "note"));
    if (v.as && v.as !== "dialect") box.append(make("p", `read as ${v.as}`, "note"));
    if (v.sql) {
      const details = make("details");
      details.append(make("summary", "what ran"), make("pre", v.sql));
      box.append(details);
    }
    result(box, v);
    if (v.parts) parting(box, v.parts);
    return box;
  }
  function draw(example) {
    const card = make("article");
    card.id = `example-${example.id}`;
    card.tabIndex = -1;
    const head = make("h3");
    const link = make("a", `#${example.id}`);
    link.href = `#example-${example.id}`;
    head.append(link, ` ${example.q ?? ""}`);
    card.append(head);
    const table = data.tables[example.table];
    if (table) {
      const details = make("details");
      details.append(make("summary", `table ${example.table}`), grid(table.header, table.rows, table.more));
      card.append(details);
    }
    if (example.prompt) {
      const details = make("details");
      details.append(make("summary", "prompt"), make("pre", example.prompt));
      card.append(details);
    }
    const answers = make("div", null, "answers");
    if (example.gold) {
      const gold = make("div");
      gold.append(make("b", data.known ? "gold" : "the data's answer"));
      gold.append(make("pre", example.gold.text ?? "(whole texts have none)"));
      if (example.gold.sql) {
        const details = make("details");
        details.append(make("summary", "what ran"), make("pre", example.gold.sql));
        gold.append(details);
      }
      result(gold, example.gold);
      answers.append(gold);
    }
    example.v.forEach((v, place) => answers.append(answer(data.variants[place], v, example.gold)));
    card.append(answers);
    if (!example.full) card.append(make("p", "Not among the examples kept in full.", "note"));
    return card;
  }
  function line(example) {
    const row = make("tr");
    row.id = `example-${example.id}`;
    row.tabIndex = -1;
    const link = make("a", `#${example.id}`);
    link.href = `#example-${example.id}`;
    const first = make("td");
    first.append(link);
    row.append(first, make("td", example.q ?? ""));
    row.append(make("td", example.agg ?? ""), make("td", example.conds ?? ""));
    for (const v of example.v) {
      const kind = !v || v.ok === null ? "ungraded" : v.ok ? "right" : "wrong";
      const mark = { right: "✓", wrong: "✗", ungraded: "not graded" }[kind];
      row.append(make("td", v && v.fail ? `${mark} ${v.fail}` : mark, kind));
    }
    return row;
  }
  function linesTable() {
    const wide = make("div", null, "wide"), table = make("table"), head = make("tr");
    for (const name of ["Example", "Question", "Aggregate", "Conditions", ...data.variants]) {
      head.append(make("th", name));
    }
    table.id = "lines";
    table.append(make("thead"), make("tbody"));
    table.tHead.append(head);
    wide.append(table);
    return wide;
  }
  function extend(until) {
    const end = Math.min(found.length, Math.max(drawn + STEP, until + 1));
    const lines = view.value === "table";
    const body = lines ? byId("lines").tBodies[0] : list;
    const made = found.slice(drawn, end).map((place) => data.examples[place]);
    body.append(...made.map(lines ? line : draw));
    drawn = end;
    more.hidden = drawn >= found.length;
  }
  // The filters that are set stand in the address, so that a view can be sent to another reader.
  function remember() {
    const set = controls.filter((control) => control.value !== initial.get(control.id));
    const query = new URLSearchParams(set.map((control) => [control.id, control.value]));
    history.replaceState(null, "", set.length ? `#explorer?${query}` : "#explorer");
  }
  function recall() {
    const query = new URLSearchParams(location.hash.split("?")[1] ?? "");
    for (const control of controls) control.value = query.get(control.id) ?? initial.get(control.id);
    refresh();
    byId("explorer").scrollIntoView();
  }
  function refresh() {
    found = data.examples.flatMap((example, place) => matches(example, place) ? [place] : []);
    drawn = 0;
    list.replaceChildren(...(view.value === "table" ? [linesTable()] : []));
    count.textContent = `${found.length} of ${data.total} examples`;
    extend(0);
  }
  function follow() {
    if (/^#explorer\?/.test(location.hash)) return recall();
    const wanted = /^#example-(\d+)$/.exec(location.hash);
    if (!wanted) return;
    const id = Number(wanted[1]);
    if (view.value === "table") {
      view.value = "cards";
      refresh();
    }
    const seek = () => found.findIndex((place) => data.examples[place].id === id);
    if (seek() < 0) {
      byId("filters").reset();
      from.value = 0;
      to.value = names.length - 1;
      refresh();
    }
    const at = seek();
    if (at < 0) return;
    if (at >= drawn) extend(at);
    go(byId(`example-${id}`));
  }
  function go(card) {
    for (const other of list.querySelectorAll(".current")) other.classList.remove("current");
    card.classList.add("current");
    card.scrollIntoView({ block: card.tagName === "TR" ? "nearest" : "start" });
    card.focus({ preventScroll: true });
  }
  function step(by) {
    const cards = [...list.querySelectorAll("[id^=example-]")];
    const at = cards.findIndex((card) => card.classList.contains("current"));
    const next = cards[Math.min(Math.max(at + by, 0), cards.length - 1)];
    if (next) go(next);
    if (at + by >= cards.length - 1 && !more.hidden) extend(0);
  }

  byId("kept").textContent = data.note;
  byId("kept").hidden = !data.note;
  if (data.examples.every((e) => e.full)) show.querySelector("[value=full]").remove();
  byId("filters").addEventListener("input", () => { refresh(); remember(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => extend(0));
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/") { event.preventDefault(); search.focus(); }
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
    if (event.key === "Enter" && event.target.tagName === "TR") {
      location.hash = event.target.id;
      follow();
    }
  });
  refresh();
  follow();

  // A click on a heading of the report's tables sorts by that column, a second one the other way.
  function number(cell) {
    const found = /-?[\d,]*\.?\d+/.exec(cell.textContent.replace("−", "-"));
    return found ? Number(found[0].replaceAll(",", "")) : NaN;
  }
  for (const head of document.querySelectorAll("#report th")) {
    const button = make("button", null, "sort");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const body = head.closest("table").tBodies[0], down = head.ariaSort === "ascending";
      for (const other of head.parentNode.children) other.ariaSort = null;
      head.ariaSort = down ? "descending" : "ascending";
      const at = head.cellIndex, sign = down ? -1 : 1;
      const order = (x, y) => {
        const a = x.cells[at], b = y.cells[at], difference = number(a) - number(b);
        return sign * (difference || a.textContent.localeCompare(b.textContent));
      };
      body.append(...[...body.rows].sort(order));
    });
  }
})();
