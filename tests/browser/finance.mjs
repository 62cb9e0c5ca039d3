// The finance page as a person uses it: sign in, go deeper, read, sign out. What is read is compared with the ledger's
// own reports, which the test brings along.

import { readFileSync } from "node:fs";

import { check, fact, open, tell } from "./browser.mjs";

const { context, page, faults, close } = await open();
const shown = (selector) => page.locator(selector).first().textContent();
const settled = () => page.waitForFunction(() => {
  const costs = document.getElementById("costs");
  return document.documentElement.dataset.ready === "yes" && !costs.hasAttribute("aria-busy") && costs.childElementCount > 0;
});
const rows = () => page.$$eval("#rows tbody tr", (all) => all.map((row) => [row.dataset.group, row.dataset.nano, row.lastElementChild.textContent]));
const dollars = (nano) => {
  const text = nano.replace("-", "").padStart(10, "0");
  return `${nano.startsWith("-") ? "-" : ""}$${text.slice(0, -9).replace(/\B(?=(\d{3})+$)/g, ",")}.${text.slice(-9)}`;
};

/** The rows of the table are these, to the nano-dollar, and so is their sum. */
async function compare(name, expected) {
  await settled();
  const found = Object.fromEntries((await rows()).map(([group, nano]) => [group, nano]));
  check(`${name}: rows`, JSON.stringify(Object.entries(found).sort()) === JSON.stringify(Object.entries(expected).sort()), found, expected);
  check(`${name}: as text`, (await rows()).every(([, nano, text]) => text === dollars(nano)), await rows());
  const sum = Object.values(expected).reduce((sum, nano) => sum + BigInt(nano), 0n).toString();
  const total = await shown("#rows tfoot td:last-child");
  check(`${name}: total`, total === dollars(sum), total, sum);
  check(`${name}: headline`, (await shown("[data-sum=cost_nano]")) === dollars(sum));
}

/** The CSV holds the rows of the table and nothing else, in its order. */
async function csv(name) {
  const link = page.getByRole("link", { name: "These rows as CSV" });
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const lines = readFileSync(await download.path(), "utf8").split("\r\n").map((line) => line.split(","));
  const shown = await page.$$eval("#rows tbody tr", (all) => all.map((row) => [
    row.dataset.group, ...[...row.querySelectorAll("td")].map((cell) => cell.textContent.replace(/[$,]/g, "")),
  ]));
  check(`${name}: CSV`, shown.length > 0 && JSON.stringify(lines.slice(1)) === JSON.stringify([...shown, [""]]), lines, shown);
}

/** The bars of one day are as many as there are rows with a cost. */
async function divided(name) {
  const bars = await page.$$eval("svg.bars rect", (all) => all.map((bar) => bar.textContent));
  const costly = (await rows()).filter(([, nano]) => nano !== "0");
  check(`${name}: bars`, bars.length === costly.length && costly.every(([group, nano]) => bars.some((bar) => bar.endsWith(`, ${group}: ${dollars(nano)}`))), bars, costly);
}

/** The budgets are these: `[name, cap, spent, left]`. */
async function budgets(name, expected) {
  const seen = await page.$$eval("#budgets tbody tr", (all) => all.map((row) => [
    row.dataset.budget, ...[...row.querySelectorAll("td")].slice(1, 4).map((cell) => cell.textContent),
  ]));
  const meant = expected.map(([budget, ...amounts]) => [budget, ...amounts.map(dollars)]);
  check(`${name}: budgets`, JSON.stringify(seen.sort()) === JSON.stringify(meant.sort()), seen, meant);
  const drawn = await page.locator("svg .burn").count();
  check(`${name}: burn-downs`, drawn === expected.length, drawn);
}

const follow = (text) => page.getByRole("link", { name: text, exact: true }).first().click();
async function signIn(key) {
  await page.getByLabel("Administrator's key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
}

await page.goto(fact.url);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
check("nothing is shown before sign-in", (await page.locator("#costs").isHidden()) && (await rows()).length === 0);
await signIn("wrong");
await page.getByText("this is no administrator's key").waitFor();
await signIn(fact.owner);
await compare("all", fact.expected.all);
check("no script sees the cookie", (await page.evaluate(() => document.cookie)) === "");
const [cookie] = await context.cookies();
check("the cookie is kept from others", cookie.httpOnly && cookie.sameSite === "Strict", cookie);
await divided("all");
await csv("all");
await budgets("all", fact.budgets.all);
await page.screenshot({ path: `${fact.folder}/all.png`, fullPage: true });

await page.getByRole("link", { name: "acme", exact: true }).focus();
await page.keyboard.press("Enter");
await compare("acme", fact.expected.acme);
const focused = () => page.evaluate(() => document.activeElement.id);
check("a keyboard goes on at the new figures", (await focused()) === "main", await focused());
await follow("acme/research");
await compare("acme/research", fact.expected.research);
await csv("acme/research");
check("the URL holds the place", new URL(page.url()).searchParams.get("tenant") === "acme/research", page.url());
await follow("Models");
await compare("models of acme/research", fact.expected.research_models);
check("a keyboard stays at the control", (await focused()) === "view-model", await focused());
await divided("models of acme/research");
await follow("mock");
await compare("one model by project", fact.expected.research_mock);
await csv("one model by project");
await page.getByRole("link", { name: "All models" }).click();
await compare("all models by project", fact.expected.research);
await page.goBack();
await compare("one model again", fact.expected.research_mock);
await page.goBack();
await compare("models again", fact.expected.research_models);
await follow("Days");
await compare("days of acme/research", fact.expected.research_days);
await page.screenshot({ path: `${fact.folder}/days.png`, fullPage: true });
await page.reload();
await compare("the same after a reload", fact.expected.research_days);
await page.goBack();
await compare("one back", fact.expected.research_models);
await follow("All tenants");
await compare("back at the top", fact.expected.all);
await page.getByLabel("Period").selectOption("last month");
await settled();
await page.getByText("No calls in this period.").waitFor();
check("an empty period says so", (await rows()).length === 0);
await page.getByLabel("Period").selectOption("last 7 days");
await compare("another period", fact.expected.all);

// What no ledger of a test has: a thousand rows, amounts beyond 2^53, and an API that fails.
const HUGE = 9_007_199_254_740_993n;
await page.route("**/admin/v1/usage?*", (route) => {
  const [by, day] = new URL(route.request().url()).searchParams.get("by").split(",");
  const days = day === undefined ? [""] : Array.from({ length: 7 }, (_, at) => new Date(Date.now() - at * 86_400_000).toISOString().slice(0, 10));
  const names = by === "day" ? days : Array.from({ length: 1000 }, (_, at) => `t${String(at).padStart(3, "0")}`);
  const one = (groups) => `{"group":"${groups.join(" ")}","groups":${JSON.stringify(groups)},"calls":1,"attempts":1,"input_tokens":1,"cache_read_tokens":0,"output_tokens":1,"estimated":0,"cost_nano":${HUGE}}`;
  const rows = names.flatMap((name) => days.map((day) => one(day === "" ? [name] : [name, day])));
  route.fulfill({ contentType: "application/json", body: `{"rows":[${rows}],"total":${one([])}}` });
});
const beganMany = Date.now();
await page.getByLabel("Period").selectOption("last 7 days");
await follow("Models");
await page.waitForFunction(() => document.querySelectorAll("#rows tbody tr").length === 1000);
check("a thousand rows are there soon", Date.now() - beganMany < 5000, Date.now() - beganMany);
check("beyond 2^53", (await rows()).every(([, nano, text]) => nano === `${HUGE}` && text === "$9,007,199.254740993"));
await page.unroute("**/admin/v1/usage?*");
const failing = { status: 500, contentType: "application/json", body: '{"error":{"message":"the store failed"}}' };
await page.route("**/admin/v1/usage?*", (route) => route.fulfill(failing));
await follow("Tenants");
await page.getByText("The figures can't be shown: the store failed.").waitFor();
check("a failure is told and nothing old is left", (await rows()).length === 0);
await page.unroute("**/admin/v1/usage?*");

await page.getByRole("button", { name: "Sign out" }).click();
await page.getByRole("heading", { name: "Sign in" }).waitFor();
check("nothing is left after sign-out", (await page.locator("#costs").isHidden()) && (await rows()).length === 0);
await context.addCookies([cookie]);
await page.goto(fact.url);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
check("the old cookie is nobody's", true);

await signIn(fact.viewer);
await compare("a viewer of one tenant", fact.expected.globex);
await budgets("a viewer of one tenant", fact.budgets.globex);
const text = await page.locator("body").innerText();
check("nothing of others", !/acme|initech|All tenants/.test(text), text);
for (const place of ["/?tenant=acme", "/?tenant=acme/research&view=model", "/?tenant=globex/../acme", "/?tenant="]) {
  await page.goto(`${fact.url}${place}`);
  await settled();
  const seen = await page.locator("#rows, #costs .notice").allInnerTexts();
  check(`nothing of others at ${place}`, !/research|initech|0\.0000/.test(seen.join(" ")) || /globex/.test(seen.join(" ")), seen);
}
await page.goto(fact.url);
await compare("and back", fact.expected.globex);
await tell("revoke");
const began = Date.now();
while ((await page.evaluate(() => fetch("/session").then((reply) => reply.status))) !== 401) {
  check("the session ends soon", Date.now() - began < 1000, Date.now() - began);
}
await follow("Models");
await page.getByText("You are signed out").waitFor();
check("a revoked key shows nothing more", (await rows()).length === 0);
check("no fault in the browser", faults.length === 0, faults);
await close();
