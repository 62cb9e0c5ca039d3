// Begins here: who is signed in, where one is, and what is shown there.

import { session, signIn, signOut } from "./api.js";
import { show } from "./costs.js";
import { say } from "./parts.js";
import { read, write } from "./place.js";

const find = (id) => document.getElementById(id);
const today = () => new Date().toISOString().slice(0, 10);

/** The newest look stops those before it: a late answer must not overwrite a newer one. */
let looking = new AbortController();
let who = null;

function face(own) {
  who = own;
  find("who").hidden = own === null;
  find("sign-in").hidden = own !== null;
  find("costs").hidden = own === null;
  find("name").textContent = own === null ? "" : `${own.role}${own.tenant === null ? "" : ` of ${own.tenant}`} (${own.id})`;
  if (own === null) {
    find("costs").replaceChildren();
    find("key").focus();
  }
}

async function look() {
  looking.abort();
  looking = new AbortController();
  const place = read(location.search, today());
  // Whose key is of a tenant begins there.
  if (place.tenant === null) place.tenant = who.tenant;
  try {
    await show(find("costs"), place, who, go, looking.signal);
  } catch (fault) {
    if (fault.name === "AbortError") return;
    if (fault.status !== 401) throw fault;
    face(null);
    find("sign-in-fault").textContent = "You are signed out: the session ended.";
  }
}

/** Goes to another place of this page. */
function go(place) {
  history.pushState(null, "", write(place));
  look();
}

find("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [key, fault] = [find("key"), find("sign-in-fault")];
  fault.textContent = "";
  try {
    const own = await signIn(key.value);
    key.value = "";
    face(own);
    say("You are signed in.");
    find("main").focus();
    await look();
  } catch (refused) {
    key.value = "";
    fault.textContent = refused.message;
    key.focus();
  }
});

find("sign-out").addEventListener("click", async () => {
  looking.abort();
  // Signed out already is signed out as well.
  await signOut().catch(() => {});
  history.replaceState(null, "", "/");
  face(null);
  say("You are signed out.");
});

window.addEventListener("popstate", () => who !== null && look());

try {
  const own = await session();
  face(own);
  if (own !== null) await look();
} catch (fault) {
  face(null);
  find("sign-in-fault").textContent = fault.message;
}
document.documentElement.dataset.ready = "yes";
