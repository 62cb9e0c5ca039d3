// The figures of one place: sums, bars by day, a table to go deeper, and its CSV.

import { budgets, usage, usagePath } from "./api.js";
import { burnDown } from "./budgets.js";
import { bars, colour, COLOURED } from "./chart.js";
import { count, dollars } from "./money.js";
import { el, notice, say } from "./parts.js";
import { crumbs, days, levelBelow, periods, question, VIEWS, write } from "./place.js";

/** Parts of all bars together: beyond them a bar is not divided, and stays quick to draw. */
const PARTS_MAX = 20_000;
const COLUMNS = [
  ["calls", "Calls"], ["attempts", "Attempts"], ["input_tokens", "Input tokens"], ["cache_read_tokens", "Cached input"],
  ["output_tokens", "Output tokens"], ["estimated", "Estimated"], ["cost_nano", "Cost (USD)"],
];

/** Shows a place in `root`. `go` leads to another one. */
export async function show(root, place, who, go, stop) {
  root.classList.add("loading");
  root.setAttribute("aria-busy", "true");
  if (root.childElementCount === 0) root.replaceChildren(notice("Loading …"));
  const was = root.contains(document.activeElement) ? document.activeElement.id : null;
  try {
    const report = await usage(question(place), stop);
    const [stacks, burning] = await Promise.all([byDay(place, report.rows, stop), budgets(stop)]);
    draw(root, place, who, go, report, stacks, burning);
  } catch (fault) {
    if (fault.name === "AbortError" || fault.status === 401) throw fault;
    root.replaceChildren(head(place, who, go), notice(`The figures can't be shown: ${fault.message}.`, true));
    say("The figures can't be shown.");
  } finally {
    if (!stop.aborted) {
      if (was !== null) focus(was);
      root.classList.remove("loading");
      root.removeAttribute("aria-busy");
    }
  }
}

/** Keyboards go on where they were: at the same control, or at the begin of what is new. */
function focus(id) {
  const control = document.getElementById(id);
  if (control !== null) control.focus({ preventScroll: true });
  else document.getElementById("main").focus();
}

/** The bars: cost of each day, divided among the table's rows where there are not too many. */
async function byDay(place, rows, stop) {
  const all = days(place.since, place.until);
  if (rows.length === 0) return [];
  if (place.view === "day" || rows.length * all.length > PARTS_MAX) {
    const found = place.view === "day" ? rows : (await usage({ ...question({ ...place, view: "day" }) }, stop)).rows;
    const nano = new Map(found.map((row) => [row.group, row.cost_nano]));
    return all.map((day) => ({ day, parts: [{ rank: 0, name: "cost", nano: nano.get(day) ?? 0n }] }));
  }
  const ranks = new Map(rows.map((row, rank) => [row.groups[0], rank]));
  const parts = new Map(all.map((day) => [day, []]));
  for (const row of (await usage(question(place, "day"), stop)).rows) {
    const [name, day] = row.groups;
    parts.get(day)?.push({ rank: ranks.get(name) ?? COLOURED, name, nano: row.cost_nano });
  }
  return all.map((day) => ({ day, parts: parts.get(day).sort((a, b) => a.rank - b.rank) }));
}

function draw(root, place, who, go, { rows, total }, stacks, burning) {
  const parts = [head(place, who, go)];
  if (rows.length === 0) parts.push(notice("No calls in this period."));
  else parts.push(figures(total), bars(stacks, `Cost by day from ${place.since} to ${place.until}; the figures are in the table.`));
  if (rows.length > 0) parts.push(table(place, rows, total, go));
  parts.push(...burnDown(burning, place.tenant));
  root.replaceChildren(...parts.flat());
  say(`${rows.length} rows, ${dollars(total.cost_nano)} in total.`);
}

/** A link within the page, that the browser's own ways of opening it leave alone. */
function link(go, to, text, attributes = {}) {
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return el("a", { href: write(to), onclick: open, ...attributes }, text);
}

/** Crumbs, period and views. */
function head(place, who, go) {
  const depth = who.tenant === null ? 0 : who.tenant.split("/").length;
  const steps = crumbs(place.tenant).map(([name, tenant], at) => ({ name, tenant, isOpen: at + 1 >= depth }));
  if (who.tenant === null) steps.unshift({ name: "All tenants", tenant: null, isOpen: true });
  const trail = steps.map((step, at) => {
    const isLast = at + 1 === steps.length;
    const to = { ...place, tenant: step.tenant, view: "tenant", model: null, key: null };
    return el("li", { "aria-current": isLast ? "page" : null }, step.isOpen && !isLast ? link(go, to, step.name) : step.name);
  });
  for (const name of ["model", "key"].filter((name) => place[name] !== null)) {
    const without = link(go, { ...place, [name]: null }, "×", { "aria-label": `All ${VIEWS[name].toLowerCase()}` });
    trail.push(el("li", {}, `${name} ${place[name]} `, without));
  }
  const views = Object.entries(VIEWS).map(([view, name]) =>
    link(go, { ...place, view }, name, { id: `view-${view}`, "aria-current": view === place.view ? "true" : null }));
  return el("div", {},
    el("nav", { class: "crumbs", "aria-label": "Where you are" }, el("ol", {}, trail)),
    picker(place, go),
    el("nav", { class: "views", "aria-label": "Rows of the table" }, views));
}

function picker(place, go) {
  const today = new Date().toISOString().slice(0, 10);
  const known = Object.entries(periods(today));
  const current = known.find(([, [since, until]]) => since === place.since && until === place.until)?.[0] ?? "";
  const choose = (event) => {
    const [since, until] = periods(today)[event.target.value] ?? [place.since, place.until];
    go({ ...place, since, until });
  };
  const set = (name) => (event) => {
    if (event.target.value === "") return;
    const next = { ...place, [name]: event.target.value };
    if (next.since > next.until) next[name === "since" ? "until" : "since"] = event.target.value;
    go(next);
  };
  const options = [["", "other"], ...known.map(([name]) => [name, name])].map(([value, name]) =>
    el("option", { value, selected: value === current, disabled: value === "" }, name));
  const date = (name) => el("input", { type: "date", id: name, value: place[name], onchange: set(name) });
  return el("div", { class: "controls" },
    el("label", {}, "Period", el("select", { id: "period", onchange: choose }, options)),
    el("label", {}, "From (UTC)", date("since")),
    el("label", {}, "To, included", date("until")));
}

function text(name, value) {
  return name === "cost_nano" ? dollars(value) : count(value);
}

function figures(total) {
  const one = ([name, title]) => el("div", {}, el("dt", {}, title), el("dd", { "data-sum": name }, text(name, total[name])));
  return el("dl", { class: "sums" }, [...COLUMNS.slice(-1), ...COLUMNS.slice(0, -1)].map(one));
}

/** Where a row leads. */
function deeper(place, group) {
  switch (place.view) {
    // What belongs to the level itself is as deep as it goes.
    case "tenant": return group === place.tenant ? null : { ...place, tenant: group };
    case "model": return place.model === null ? { ...place, model: group, view: "tenant" } : null;
    case "key": return place.key === null ? { ...place, key: group, view: "day" } : null;
    default: return { ...place, since: group, until: group, view: "tenant" };
  }
}

function table(place, rows, total, go) {
  const body = rows.map((row, rank) => {
    const to = deeper(place, row.group);
    const name = place.view === "tenant" && row.group === place.tenant ? `${row.group} itself` : row.group;
    const key = place.view === "day" ? null : el("span", { class: `key ${colour(rank)}`, "aria-hidden": "true" });
    return el("tr", { "data-group": row.group, "data-nano": row.cost_nano },
      el("th", { scope: "row" }, key, to === null ? name : link(go, to, name)),
      COLUMNS.map(([column]) => el("td", {}, text(column, row[column]))));
  });
  const by = place.view === "tenant" ? levelBelow(place.tenant)[1] : place.view;
  const title = `By ${by}, ${place.since} to ${place.until} (UTC), ${count(rows.length)} rows`;
  const heads = [VIEWS[place.view], ...COLUMNS.map(([, name]) => name)].map((name) => el("th", { scope: "col" }, name));
  const csv = el("a", { href: usagePath({ ...question(place), format: "csv" }), download: `costs-${place.since}-${place.until}.csv` }, "These rows as CSV");
  return [el("div", { class: "wide" }, el("table", { id: "rows" },
    el("caption", {}, title),
    el("thead", {}, el("tr", {}, heads)),
    el("tbody", {}, body),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "Total"), COLUMNS.map(([name]) => el("td", {}, text(name, total[name]))))))),
  el("p", {}, csv)];
}
