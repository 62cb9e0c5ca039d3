// The figures of one place: sums, bars by day, a table to go deeper, and its CSV.

import { usage } from "./api.js";
import { bars, colour, COLOURED } from "./chart.js";
import { count, dollars } from "./money.js";
import { el, notice, say } from "./parts.js";
import { crumbs, dayAfter, dayMs, days, LEVELS, periods, VIEWS, write } from "./place.js";

/** Days that a chart shows at most. */
const CHART_DAYS = 400;
const COLUMNS = [
  ["calls", "Calls"], ["attempts", "Attempts"], ["input_tokens", "Input tokens"], ["output_tokens", "Output tokens"],
  ["estimated", "Estimated"], ["cost_nano", "Cost (USD)"],
];

/** Shows a place in `root`. `go` leads to another one. */
export async function show(root, place, who, go, stop) {
  root.classList.add("loading");
  root.setAttribute("aria-busy", "true");
  if (root.childElementCount === 0) root.replaceChildren(notice("Loading …"));
  try {
    const [rows, byDay] = await Promise.all([sums(place, place.view, stop), sums(place, "day", stop)]);
    draw(root, place, who, go, rows, byDay);
  } catch (fault) {
    if (fault.name === "AbortError" || fault.status === 401) throw fault;
    root.replaceChildren(head(place, who, go), notice(`The figures can't be shown: ${fault.message}.`, true));
    say("The figures can't be shown.");
  } finally {
    if (!stop.aborted) {
      root.classList.remove("loading");
      root.removeAttribute("aria-busy");
    }
  }
}

async function sums(place, by, stop) {
  const query = { by, tenant: place.tenant, since_ms: dayMs(place.since), until_ms: dayMs(dayAfter(place.until, 1)) };
  const { rows } = await usage(query, stop);
  return by === "tenant" ? byLevel(rows, place.tenant) : rows;
}

/** Sums of the level below `tenant`; what belongs to the level itself has its own row. */
function byLevel(rows, tenant) {
  const depth = tenant === null ? 0 : tenant.split("/").length;
  const found = new Map();
  for (const row of rows) {
    const group = row.group.split("/").slice(0, depth + 1).join("/");
    const sum = found.get(group);
    found.set(group, sum === undefined ? { ...row, group } : added(sum, row));
  }
  return [...found.values()];
}

function added(sum, row) {
  const both = { ...sum };
  for (const [name] of COLUMNS) both[name] += row[name];
  return both;
}

function draw(root, place, who, go, rows, byDay) {
  const none = Object.fromEntries(COLUMNS.map(([name]) => [name, 0n]));
  const total = rows.reduce(added, none);
  const ranked = place.view === "day" ? rows : rows.toSorted((a, b) => (a.cost_nano < b.cost_nano ? 1 : a.cost_nano > b.cost_nano ? -1 : a.group < b.group ? -1 : 1));
  const parts = [head(place, who, go)];
  if (rows.length === 0) parts.push(notice("No calls in this period."));
  else parts.push(figures(total), chart(place, byDay), table(place, ranked, total, go));
  root.replaceChildren(...parts);
  say(`${rows.length} rows, ${dollars(total.cost_nano)} in total.`);
}

/** Crumbs, period and views. */
function head(place, who, go) {
  const link = (to, text, attributes = {}) => el("a", {
    href: write(to), ...attributes,
    onclick: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(to);
    },
  }, text);
  const depth = who.tenant === null ? 0 : who.tenant.split("/").length;
  const steps = crumbs(place.tenant).map(([name, tenant], at) => ({ name, tenant, isOpen: at + 1 >= depth }));
  if (who.tenant === null) steps.unshift({ name: "All tenants", tenant: null, isOpen: true });
  const trail = steps.map((step, at) => {
    const isLast = at + 1 === steps.length;
    const inside = step.isOpen && !isLast ? link({ ...place, tenant: step.tenant, view: "tenant" }, step.name) : step.name;
    return el("li", { "aria-current": isLast ? "page" : null }, inside);
  });
  const views = Object.entries(VIEWS).map(([view, name]) =>
    link({ ...place, view }, name, { "aria-current": view === place.view ? "true" : null }));
  return el("div", {},
    el("nav", { class: "crumbs", "aria-label": "Tenant path" }, el("ol", {}, trail)),
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

function figures(total) {
  const one = ([name, title]) => el("div", {},
    el("dt", {}, title), el("dd", { "data-sum": name }, text(name, total[name])));
  return el("dl", { class: "sums" }, [...COLUMNS.slice(-1), ...COLUMNS.slice(0, -1)].map(one));
}

function text(name, value) {
  return name === "cost_nano" ? dollars(value) : count(value);
}

function chart(place, byDay) {
  const found = new Map(byDay.map((row) => [row.group, row.cost_nano]));
  const stacks = days(place.since, place.until, CHART_DAYS).map((day) => ({
    day, parts: [{ rank: 0, name: "cost", nano: found.get(day) ?? 0n }],
  }));
  return bars(stacks, `Cost by day from ${place.since} to ${place.until}; the figures are in the table.`);
}

function table(place, rows, total, go) {
  const deeper = (row) => {
    if (place.view === "tenant" && row.group !== place.tenant) return { ...place, tenant: row.group };
    if (place.view === "day") return { ...place, since: row.group, until: row.group, view: "tenant" };
    return null;
  };
  const body = rows.map((row, rank) => {
    const to = deeper(row);
    const name = place.view === "tenant" && row.group === place.tenant ? `${row.group} itself` : row.group;
    const open = (event) => { event.preventDefault(); go(to); };
    return el("tr", { "data-group": row.group, "data-nano": row.cost_nano },
      el("th", { scope: "row" }, to === null ? name : el("a", { href: write(to), onclick: open }, name)),
      COLUMNS.map(([column]) => el("td", {}, text(column, row[column]))));
  });
  const level = LEVELS[place.tenant === null ? 0 : place.tenant.split("/").length] ?? "key";
  const title = place.view === "tenant" ? `By ${level}` : `By ${place.view}`;
  return el("div", { class: "wide" }, el("table", {},
    el("caption", {}, `${title}, ${place.since} to ${place.until} (UTC), ${count(rows.length)} rows`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, VIEWS[place.view]), COLUMNS.map(([, name]) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, body),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "Total"), COLUMNS.map(([name]) => el("td", {}, text(name, total[name])))))));
}
