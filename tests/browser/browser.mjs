// What all scripts in the browser begin with: the facts, the checks, and a browser that is closed with the script.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

// The packages are installed outside the tree.
const packages = process.env.WEIR_BROWSER;
const { chromium } = createRequire(`${packages}/`)("playwright-core");

/** Longest wait for anything on a page. */
const SOON_MS = 20_000;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => JSON.parse((await lines.next()).value);

/** The facts of the test. */
export const fact = await next();

/** One thing that holds; else the script ends. */
export function check(name, holds, ...seen) {
  if (!holds) throw new Error(`${name}: ${seen.map((one) => JSON.stringify(one)).join(" ")}`);
  console.log(JSON.stringify({ check: name }));
}

/** Lets the test do something, and waits until it has. */
export async function tell(event) {
  console.log(JSON.stringify({ event }));
  return next();
}

/** A browser with one page. `faults` are what it complained about. */
export async function open() {
  const home = mkdtempSync(join(tmpdir(), "weir-browser-"));
  const executablePath = readFileSync(join(packages, "chromium"), "utf8");
  // Its sandbox refuses to run as root, as in a container; only pages of ours are opened.
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  const browser = await chromium.launch({ executablePath, args, env: { ...process.env, HOME: home } });
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, timezoneId: "Asia/Tokyo", acceptDownloads: true });
  context.setDefaultTimeout(SOON_MS);
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  // A refusal is no fault: the page tells of it.
  page.on("console", (line) => line.type() === "error" && !/status of (40[13]|500)/.test(line.text()) && faults.push(line.text()));
  const close = async () => {
    await browser.close();
    rmSync(home, { recursive: true, force: true });
    process.exit(0);
  };
  return { browser, context, page, faults, close };
}
