// The documented admin API, asked with the cookie of who signed in.

let csrf = "";

/** An answer that is no success. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** JSON whose whole numbers are all BigInts: a number of JavaScript would round those above 2^53. */
export function exact(text) {
  return JSON.parse(text, (_, value, context) => {
    if (typeof value !== "number") return value;
    if (context?.source !== undefined) return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
    if (!Number.isSafeInteger(value)) throw new Refused(0, "this browser can't read a number of this size exactly");
    return BigInt(value);
  });
}

async function ask(method, path, body, stop) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET") headers["x-csrf-token"] = csrf;
  const init = { method, headers, body: body && JSON.stringify(body), credentials: "same-origin", redirect: "error" };
  let reply;
  try {
    reply = await fetch(path, { ...init, signal: stop });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Refused(0, "the gateway can't be reached");
  }
  const text = await reply.text();
  if (!reply.ok) {
    let message = `the gateway answered ${reply.status}`;
    try { message = JSON.parse(text).error.message; } catch { /* No words of its own. */ }
    throw new Refused(reply.status, message);
  }
  return text === "" ? null : exact(text);
}

/** Whose session this is; null where nobody is signed in. */
export async function session() {
  try {
    const own = await ask("GET", "/session");
    csrf = own.csrf;
    return own;
  } catch (fault) {
    if (fault.status === 401) return null;
    throw fault;
  }
}

/** Signs in; the key goes nowhere else and is not kept. */
export async function signIn(key) {
  const own = await ask("POST", "/session", { key });
  csrf = own.csrf;
  return own;
}

export async function signOut() {
  await ask("DELETE", "/session");
  csrf = "";
}

/** The address of a report. */
export function usagePath(query) {
  const words = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return `/admin/v1/usage?${new URLSearchParams(words)}`;
}

export function usage(query, stop) {
  return ask("GET", usagePath(query), undefined, stop);
}

/** Every budget that may be seen. */
export async function budgets(stop) {
  return (await ask("GET", "/admin/v1/budgets", undefined, stop)).budgets;
}
