"""What every chapter is written with: the SDK's clients, the conversation with the test, the ledger's own words.

The test starts a chapter with one line of JSON on its stdin, the facts: base_url, tenants, data, weir, prices, ...
A chapter prints one line of JSON for each check that held and for each event that the test waits for; a check that
does not hold raises. Start at `check`.
"""

import json
import re
import subprocess
import sys
import time
from fractions import Fraction

import httpx2
import openai

FACTS = json.loads(sys.stdin.readline())
# How long anything that should happen soon may take on a busy machine, in seconds.
SOON = 20.0
LOOK = 0.03


def check(name, holds, *facts):
    """States that something holds; `facts` say what was seen where it does not."""
    if not holds:
        raise AssertionError(f"{name}: {facts}")
    say({"check": name})


def tell(event, **more):
    """Tells the test that something has happened."""
    say({"event": event, **more})


def hear():
    """Waits until the test says that it has done its part."""
    return json.loads(sys.stdin.readline())


def say(line):
    print(json.dumps(line), flush=True)


def key_of(tenant):
    return next(each["key"] for each in FACTS["tenants"] if each["name"] == tenant)


def client(tenant="acme", **more):
    """The official client with nothing changed but the address and the key; it does not repeat unless told to."""
    settings = {"base_url": FACTS["base_url"], "api_key": key_of(tenant), "max_retries": 0, "timeout": 60.0}
    return openai.OpenAI(**{**settings, **more})


def async_client(tenant="acme"):
    return openai.AsyncOpenAI(base_url=FACTS["base_url"], api_key=key_of(tenant), max_retries=0, timeout=60.0)


def user(text):
    return [{"role": "user", "content": text}]


def raised(kind, call):
    """The exception of exactly this type that `call` ends with."""
    try:
        answer = call()
    except openai.OpenAIError as error:
        if type(error) is not kind:
            raise AssertionError(f"a {type(error).__name__} instead of {kind.__name__}: {error}") from error
        return error
    raise AssertionError(f"an answer instead of {kind.__name__}: {answer}")


def eventually(what, look):
    """The first true value that `look` gives."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(LOOK)
    raise AssertionError(f"never happened: {what}")


def weir(*words):
    """What a `weir` command prints about the data folder as JSON."""
    command = [FACTS["weir"], *words, "--json", "--data", FACTS["data"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SOON)
    if done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def usage_rows(call):
    report = json.loads(weir("usage", "report", "--by", "call"))
    return [row for row in report["rows"] if row["group"] == call]


def audit_records(call):
    records = [json.loads(line) for line in weir("audit", "list", "--limit", "1000").splitlines()]
    return [record for record in records if record["id"] == call]


def usage_row(call):
    """The call's sum over its attempts in the usage report."""
    rows = eventually(f"a usage row of {call}", lambda: usage_rows(call))
    if len(rows) != 1:
        raise AssertionError(f"usage rows of {call}: {rows}")
    return rows[0]


def audit_record(call):
    """The call's only record in the audit log."""
    records = eventually(f"an audit record of {call}", lambda: audit_records(call))
    if len(records) != 1:
        raise AssertionError(f"audit records of {call}: {records}")
    return records[0]


def check_accounted(name, call, usage, provider="engine", model="smollm2", attempts=(1,)):
    """The usage row has the reply's own counts, and costs price times tokens to the nano-dollar."""
    row = usage_row(call)
    counts = (row["input_tokens"], row["output_tokens"], row["estimated"])
    check(f"{name}: tokens", counts == (usage.prompt_tokens, usage.completion_tokens, 0), row, usage)
    check(f"{name}: attempts", row["attempts"] in attempts, row)
    cost = cost_nano(provider, model, usage.prompt_tokens, usage.completion_tokens)
    check(f"{name}: cost", row["cost_nano"] == cost and cost > 0, row, cost)


def cost_nano(provider, model, prompt_tokens, completion_tokens):
    """The price file's own arithmetic, done again: exact, then rounded half to even."""
    with open(FACTS["prices"], encoding="utf-8") as file:
        entries = re.findall(r'\{provider: (\S+), model: "(\S+)", input: "(.+?)", output: "(.+?)"\}', file.read())
    fits = lambda of, name: of == provider and (name == model or name.endswith("*") and model.startswith(name[:-1]))
    each_input, each_output = next((rate(i), rate(o)) for of, name, i, o in entries if fits(of, name))
    return round((each_input * prompt_tokens + each_output * completion_tokens) * 10**9)


def rate(text):
    amount, unit = text.split(" per ")
    return Fraction(amount) / {"1": 1, "1K": 10**3, "1M": 10**6}[unit]


def pages():
    """How the engine's pages stand now, by its own socket."""
    transport = httpx2.HTTPTransport(uds=FACTS["engine_socket"])
    with httpx2.Client(transport=transport) as engine:
        return engine.get("http://engine/weir/pages").json()


def check_all_pages_free(name):
    def idle():
        now = pages()
        return now if now["owned"] == 0 and now["sequences"] == 0 else None

    now = eventually("all pages are free", idle)
    check(name, now["free"] == now["total"] > 0, now)


def call_of_stream(stream):
    return stream.response.headers["x-request-id"]


def text_of(stream):
    """The text of a stream that has one choice."""
    return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
