// Budgets: what is spent of each in its window, how it burns down, and when it will be used up.

import { dollars, mark, thousandths } from "./money.js";
import { el, svg } from "./parts.js";

/** Budgets that are drawn; the table has all of them. */
const DRAWN_MAX = 6;
const WIDTH = 390;
const HEIGHT = 150;
const LEFT = 60;
const EDGE = 20;

/** Columns of words. */
const TOLD = [1, 6, 7];

/** The section about the budgets at a tenant and below; nothing where there are none. */
export function burnDown(all, tenant) {
  const here = all.filter((one) => tenant === null || one.tenant === tenant || one.tenant.startsWith(`${tenant}/`));
  const budgets = here.toSorted((a, b) => Number((b.used_permille ?? -1n) - (a.used_permille ?? -1n)));
  if (budgets.length === 0) return [];
  const drawn = budgets.filter((one) => one.days.length > 0).slice(0, DRAWN_MAX);
  return [el("h2", { id: "budgets-title" }, "Budgets"), table(budgets), el("div", { class: "burning" }, drawn.map(drawing))];
}

function title(budget) {
  return [budget.tenant, budget.name, budget.part].filter((word) => word !== null && word !== "").join(" · ");
}

/** A moment as a day of the budget's own calendar. */
function day(ms, zone) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" }).format(new Date(Number(ms)));
}

function span(budget) {
  const from = budget.window === "total" ? "" : `, from ${day(budget.from_ms, budget.zone)}`;
  return `${budget.window}${from} (${budget.zone})`;
}

function expected(budget) {
  const { forecast } = budget;
  if (forecast === null) return "";
  const end = forecast.nano === null ? "" : `${dollars(forecast.nano)} at its end`;
  const over = forecast.used_up_ms === null ? "" : `used up on ${day(forecast.used_up_ms, budget.zone)}`;
  return [end, over].filter((text) => text !== "").join(", ");
}

function alerts(budget) {
  const name = (kind) => (kind === "forecast" ? "will exceed" : `${kind} %`);
  return budget.alerts.map(({ kind, at_ms: at }) => `${name(kind)} on ${day(at, budget.zone)}`).join(", ");
}

function percent(budget) {
  if (budget.used_permille === null) return "not kept like this";
  return `${budget.used_permille / 10n}.${budget.used_permille % 10n} %`;
}

function table(budgets) {
  const heads = ["Budget", "Window", "Cap (USD)", "Spent", "Left", "Used", "Expected", "Alerts"];
  const amount = (nano) => (nano === null ? "–" : dollars(nano));
  const body = budgets.map((budget) => el("tr", { "data-budget": title(budget), class: level(budget) },
    el("th", { scope: "row" }, title(budget)),
    el("td", { class: "told" }, span(budget)),
    [dollars(budget.cap_nano), amount(budget.spent_nano), amount(budget.left_nano)].map((text) => el("td", {}, text)),
    el("td", { class: "used" }, percent(budget)),
    [expected(budget), alerts(budget)].map((text) => el("td", { class: "told" }, text))));
  return el("div", { class: "wide" }, el("table", { id: "budgets" },
    el("caption", {}, "From the ledger; calls that are running are not in it"),
    el("thead", {}, el("tr", {}, heads.map((head, at) => el("th", { scope: "col", class: TOLD.includes(at) ? "told" : null }, head)))),
    el("tbody", {}, body)));
}

/** Said by words in the table as well: colour is never the only sign. */
function level(budget) {
  const used = budget.used_permille ?? 0n;
  return used >= 1000n ? "over" : used >= 800n ? "near" : null;
}

/** What is left at each day's end, from the cap downwards. */
function drawing(budget) {
  const room = HEIGHT - EDGE - 10;
  const y = (nano) => HEIGHT - EDGE - (room * thousandths(nano, budget.cap_nano)) / 1000;
  const x = (at) => LEFT + ((WIDTH - LEFT - 10) * at) / Math.max(budget.days.length, 1);
  const points = budget.days.map((one, at) => `${x(at + 1)},${y(one.left_nano)}`);
  const last = budget.days.at(-1);
  const caption = `${title(budget)}: ${dollars(last.left_nano)} left of ${dollars(budget.cap_nano)} on ${last.day}`;
  const edge = [0n, budget.cap_nano].flatMap((nano) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 10, y1: y(nano), y2: y(nano) }),
    svg("text", { x: LEFT - 6, y: y(nano) + 4, "text-anchor": "end" }, mark(nano))]);
  const names = [[0, budget.days[0].day, "start"], [budget.days.length, last.day, "end"]].map(([at, text, anchor]) =>
    svg("text", { x: x(at), y: HEIGHT - 4, "text-anchor": anchor }, text.slice(5)));
  return el("figure", {},
    el("figcaption", {}, caption),
    svg("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": caption },
      edge, names, svg("polyline", { class: "burn", points: [`${x(0)},${y(budget.cap_nano)}`, ...points].join(" ") })));
}
