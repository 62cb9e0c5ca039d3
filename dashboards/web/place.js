// Where one is: the URL's query holds all of it, so that a view can be kept, sent and gone back to.

const DAY_MS = 86_400_000;
const PATH = /^[a-z0-9][a-z0-9._-]*(\/[a-z0-9][a-z0-9._-]*)*$/;
const DATE = /^\d{4}-\d{2}-\d{2}$/;

/** What the table's rows can be. */
export const VIEWS = { tenant: "Tenants", model: "Models", day: "Days", key: "Keys" };

/** Levels of a tenant path, from the outside in, by their names in the API, and as people call them. */
const LEVELS = [["org", "organisation"], ["team", "team"], ["project", "project"], ["user", "user"]];

/** Unix milliseconds of a day's begin, UTC. */
export function dayMs(date) {
  return Date.parse(`${date}T00:00:00Z`);
}

/** The day so many days after another. */
export function dayAfter(date, days) {
  return new Date(dayMs(date) + days * DAY_MS).toISOString().slice(0, 10);
}

/** All days of a period, its last one included. */
export function days(since, until) {
  const all = [];
  for (let day = since; day <= until; day = dayAfter(day, 1)) all.push(day);
  return all;
}

/** Periods by name, as of a day: [first, last]. */
export function periods(today) {
  const month = `${today.slice(0, 7)}-01`;
  const before = dayAfter(month, -1);
  return {
    "this month": [month, today],
    "last month": [`${before.slice(0, 7)}-01`, before],
    "last 7 days": [dayAfter(today, -6), today],
    "last 30 days": [dayAfter(today, -29), today],
    "last 90 days": [dayAfter(today, -89), today],
    "last 365 days": [dayAfter(today, -364), today],
  };
}

/** Reads the URL's query. What makes no sense there is not there. */
export function read(search, today) {
  const query = new URLSearchParams(search);
  const text = (name, pattern) => (pattern.test(query.get(name) ?? "") ? query.get(name) : null);
  const date = (name) => (Number.isNaN(dayMs(text(name, DATE) ?? "")) ? null : text(name, DATE));
  const [first, last] = periods(today)["this month"];
  const since = date("since") ?? first;
  const until = date("until") ?? last;
  return {
    tenant: text("tenant", PATH),
    view: Object.hasOwn(VIEWS, query.get("view") ?? "") ? query.get("view") : "tenant",
    model: query.get("model") || null,
    key: query.get("key") || null,
    since: since <= until ? since : until,
    until,
  };
}

/** The address of a place. */
export function write(place) {
  const words = Object.entries(place).filter(([, value]) => value !== null && value !== "");
  return `/?${new URLSearchParams(words)}`;
}

/** The levels of a path, from the outside in: [name, path]. */
export function crumbs(tenant) {
  const names = tenant === null ? [] : tenant.split("/");
  return names.map((name, at) => [name, names.slice(0, at + 1).join("/")]);
}

/** The level below a tenant: [its name in the API, its name for people]. */
export function levelBelow(tenant) {
  const depth = tenant === null ? 0 : tenant.split("/").length;
  return LEVELS[Math.min(depth, LEVELS.length - 1)];
}

/** The question to the API whose answer this place's table shows; `extra` things to sum by come behind the view. */
export function question(place, ...extra) {
  return {
    by: [place.view, ...extra].join(","),
    level: levelBelow(place.tenant)[0],
    tenant: place.tenant,
    model: place.model,
    key: place.key,
    since_ms: dayMs(place.since),
    until_ms: dayMs(dayAfter(place.until, 1)),
    order: place.view === "day" ? "group" : "cost",
  };
}
