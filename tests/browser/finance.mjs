// The finance page as a person uses it: sign in, go deeper, read, sign out. What is read is compared with the ledger's
// own reports, which the test brings along.

import { check, fact, open, tell } from "./browser.mjs";

const { context, page, faults, close } = await open();
const shown = (selector) => page.locator(selector).first().textContent();
const settled = () => page.waitForFunction(() => {
  const costs = document.getElementById("costs");
  return document.documentElement.dataset.ready === "yes" && !costs.hasAttribute("aria-busy") && costs.childElementCount > 0;
});
const rows = () => page.$$eval("#costs tbody tr", (all) => all.map((row) => [row.dataset.group, row.dataset.nano, row.lastElementChild.textContent]));
const dollars = (nano) => {
  const text = nano.padStart(10, "0");
  return `$${text.slice(0, -9).replace(/\B(?=(\d{3})+$)/g, ",")}.${text.slice(-9)}`;
};

/** The rows of the table are these, to the nano-dollar, and so is their sum. */
async function compare(name, expected) {
  await settled();
  const found = Object.fromEntries((await rows()).map(([group, nano]) => [group, nano]));
  check(`${name}: rows`, JSON.stringify(Object.entries(found).sort()) === JSON.stringify(Object.entries(expected).sort()), found, expected);
  check(`${name}: as text`, (await rows()).every(([, nano, text]) => text === dollars(nano)), await rows());
  const sum = Object.values(expected).reduce((sum, nano) => sum + BigInt(nano), 0n).toString();
  const total = await shown("#costs tfoot td:last-child");
  check(`${name}: total`, total === dollars(sum), total, sum);
  check(`${name}: headline`, (await shown("[data-sum=cost_nano]")) === dollars(sum));
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
await page.screenshot({ path: `${fact.folder}/all.png`, fullPage: true });

await follow("acme");
await compare("acme", fact.expected.acme);
await follow("acme/research");
await compare("acme/research", fact.expected.research);
check("the URL holds the place", new URL(page.url()).searchParams.get("tenant") === "acme/research", page.url());
await follow("Models");
await compare("models of acme/research", fact.expected.research_models);
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

await page.getByRole("button", { name: "Sign out" }).click();
await page.getByRole("heading", { name: "Sign in" }).waitFor();
check("nothing is left after sign-out", (await page.locator("#costs").isHidden()) && (await rows()).length === 0);
await context.addCookies([cookie]);
await page.goto(fact.url);
await page.getByRole("heading", { name: "Sign in" }).waitFor();
check("the old cookie is nobody's", true);

await signIn(fact.viewer);
await compare("a viewer of one tenant", fact.expected.globex);
const text = await page.locator("body").innerText();
check("nothing of others", !/acme|initech|All tenants/.test(text), text);
for (const place of ["/?tenant=acme", "/?tenant=acme/research&view=model", "/?tenant=globex/../acme", "/?tenant="]) {
  await page.goto(`${fact.url}${place}`);
  await settled();
  const seen = await page.locator("#costs table, #costs .notice").allInnerTexts();
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
