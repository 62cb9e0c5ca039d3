r"""Makes up bodies of chat calls, lets Weir read them, and reads what Weir would forward with Python's and JavaScript's
parsers: what was authorised must be what both of them find.

bodies.py --reads PROGRAM [--node node] [--count N] [--seed N] [--corpus FILE]

PROGRAM is the example `envelope_reads`; FILE is JSON lines whose member `bytes_base64` is a JSON text. Exit status 1
where any parser reads something else than Weir did.
"""

import argparse
import base64
import json
import os
import random
import struct
import subprocess
import sys

SPELLED = ["model", "Model", "MODEL", r"mod\u0065l", r"\u006dodel", "model ", " model", "mödel", r"model\u0000"]
NAMES = ["model", "stream", "max_tokens", "max_completion_tokens", "n", "user", "tools", "messages", "stream_options",
         "functions", "best_of", "x", "temperature"]
LITERALS = ["true", "false", "null", "0", "1", "2", "64", "4096", "-1", "1e0", "1.0", "1E400", "-0", "01", "0x1", "NaN",
            "Infinity", "9007199254740993", "4294967296", "18446744073709551616", "1e-400", ".5", "5."]
TEXTS = ['"small"', '"big-7b"', '""', r'"\ud800"', r'"\ud83d\ude00"', r'"\u0000"', r'"a\nb"', '"é"', r'"\/"', "'small'",
         '"small', r'"\x41"', r'"\u00e9"', '"' + "a" * 300 + '"']
TOOLS = ['[{"type":"function","function":{"name":"f"}}]', '[{"type":"function","function":{"name":"f","Name":"g"}}]',
         '[{"function":{"name":"f"},"Function":{"name":"g"}}]', "[]", '[{"type":"web_search"}]', '[{"name":"old"}]',
         r'[{"type":"function","function":{"n\u0061me":"f"}}]', '[{"name":"f","function":null}]',
         '[{"type":"function","function":{"name":"f","name":"g"}}]', '[{"type":"custom","function":{"name":null}}]']
OPTIONS = ['{"include_usage":true}', '{"include_usage":false}', "{}", '{"Include_usage":true}',
           '{"include_usage":true,"include_usage":false}', "null", "[]"]
MESSAGES = ['[{"role":"user","content":"hi"}]', '[{"role":"user","content":[{"type":"text","text":"hi"}]}]', "[]", '"hi"',
            r'[{"role":"user","content":"\ud83d\ude00"}]']
BLANKS = [" ", "\n", "\t", "\r\n", "\u00a0", "\ufeff", "/**/", "\f", "\v"]


def value(dice, name):
    pools = {"model": TEXTS[:2] * 9 + TEXTS, "tools": TOOLS, "functions": TOOLS, "stream_options": OPTIONS,
             "messages": MESSAGES[:2] * 4 + MESSAGES, "user": TEXTS}
    if name in pools and dice.random() < 0.93:
        return dice.choice(pools[name])
    if name == "stream" and dice.random() < 0.8:
        return dice.choice(["true", "false"])
    if name in ("max_tokens", "max_completion_tokens", "n", "best_of") and dice.random() < 0.7:
        return dice.choice(["1", "2", "64", "128"])
    return dice.choice(LITERALS + TEXTS + TOOLS + OPTIONS)


def body(dice, corpus):
    names = ["model", "messages"] + [dice.choice(NAMES) for _ in range(dice.randint(0, 5))]
    if dice.random() < 0.75:
        names = list(dict.fromkeys(names))
    dice.shuffle(names)
    members = []
    for name in names:
        spelled = name
        if name == "model" and dice.random() < 0.08:
            spelled = dice.choice(SPELLED)
        elif dice.random() < 0.04:
            escaped = "".join(f"\\u{ord(letter):04x}" for letter in name)
            spelled = dice.choice([name.upper(), name.title(), name + r"\u0020", escaped])
        inner = value(dice, name)
        if corpus and name == "x" and dice.random() < 0.5:
            inner = dice.choice(corpus)
        blank = dice.choice(BLANKS) if dice.random() < 0.05 else ""
        members.append(f'{blank}"{spelled}"{blank}:{inner}')
    text = "{" + ",".join(members) + "}"
    if dice.random() < 0.03:
        behind = dice.choice([" ", "\n", "x", "{}", ",", "\0"])
        text = dice.choice(["\ufeff" + text, text + behind, "[" + text + "]", text[:-1], text.replace(":", "::", 1),
                            text.replace(",", ",,", 1), text[:-1] + ",}"])
    raw = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.08:
        raw = mutate(dice, raw)
    return raw[: 1 << 18]


def mutate(dice, raw):
    """A byte changed, taken out, doubled, or another encoding."""
    at = dice.randrange(len(raw))
    return dice.choice([
        raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :],
        raw[:at] + raw[at + 1 :],
        raw[:at] + raw[at : at + dice.randint(1, 9)] + raw[at:],
        raw[:at] + b"\xc0\xaf" + raw[at:],
        raw[:at] + b"\xed\xa0\x80" + raw[at:],
        raw.decode("utf-8", "replace").encode("utf-16"),
    ])


def tool_names(found):
    names = []
    for member in ("tools", "functions"):
        for tool in found.get(member) or []:
            inner, kind = tool.get("function") or tool, tool.get("type")
            name = inner.get("name")
            names.append(name if isinstance(name, str) else kind if kind != "function" else None)
    return names


def facts(text):
    """What Python finds in a body."""
    found = json.loads(text)
    cap = found.get("max_completion_tokens")
    cap = found.get("max_tokens") if cap is None else cap
    options = found.get("stream_options") or {}
    return {"model": found.get("model"), "stream": found.get("stream") is True,
            "include_usage": options.get("include_usage") is True, "cap": cap,
            "n": 1 if found.get("n") is None else found["n"], "user": found.get("user"), "tools": tool_names(found)}


NODE = r"""
const lines = require('readline').createInterface({input: process.stdin});
lines.on('line', line => {
  let answer = null;
  try {
    const found = JSON.parse(new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(Buffer.from(line, 'hex')));
    const options = found.stream_options || {}, tools = [];
    for (const member of ['tools', 'functions']) for (const tool of found[member] || []) {
      const name = (tool.function || tool).name;
      tools.push(typeof name === 'string' ? name : tool.type !== 'function' ? tool.type ?? null : null);
    }
    answer = {model: found.model ?? null, stream: found.stream === true, include_usage: options.include_usage === true,
      cap: found.max_completion_tokens ?? found.max_tokens ?? null, n: found.n ?? 1, user: found.user ?? null, tools};
  } catch (fault) { answer = {fault: String(fault)}; }
  process.stdout.write(JSON.stringify(answer) + '\n');
});
"""


def run(command, data):
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout.splitlines()


def compare(args, bodies):
    packed = b"".join(struct.pack(">I", len(one)) + one for one in bodies)
    ours = [json.loads(line) for line in run([args.reads], packed)]
    assert len(ours) == len(bodies), f"{len(ours)} answers to {len(bodies)} bodies"
    taken = [(one, our) for one, our in zip(bodies, ours) if our is not None]
    forwarded = [bytes.fromhex(our["forwarded"]) for _, our in taken]
    lines = "\n".join(one.hex() for one in forwarded).encode() + b"\n"
    theirs = [json.loads(line) for line in run([args.node, "-e", NODE], lines)] if forwarded else []
    faults = 0
    for (one, our), sent, node in zip(taken, forwarded, theirs):
        same = {"stream": our["stream"], "n": our["n"], "user": our["user"], "tools": our["tools"]}
        before = {"model": our["model"], "include_usage": our["include_usage"], "cap": our["max_tokens"], **same}
        usage = our["stream"] or our["include_usage"]
        after = {"model": "upstream-model", "include_usage": usage, "cap": our["max_tokens"] or 77, **same}
        try:
            original, python = facts(one.decode("utf-8")), facts(sent.decode("utf-8"))
        except ValueError as fault:
            original, python = None, {"fault": str(fault)}
        if python != after or node != after or original != before:
            faults += 1
            if faults <= 3:
                print("body", one[:400], "\nforwarded", sent[:400], "\nweir", before, after)
                print("python", original, python, "\nnode", node)
    return len(taken), faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reads", required=True)
    parser.add_argument("--node", default="node")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus")
    args = parser.parse_args()
    corpus = []
    if args.corpus and os.path.exists(args.corpus):
        texts = [base64.b64decode(json.loads(line)["bytes_base64"]) for line in open(args.corpus)]
        corpus = [text.decode("utf-8", "surrogateescape") for text in texts if len(text) < 2000]
        corpus = [text for text in corpus if text.isprintable()]
    dice = random.Random(args.seed)
    done, taken, faults = 0, 0, 0
    while done < args.count:
        bodies = [body(dice, corpus) for _ in range(min(25_000, args.count - done))]
        done += len(bodies)
        more, wrong = compare(args, bodies)
        taken, faults = taken + more, faults + wrong
    print(f"{done} bodies, seed {args.seed}: {taken} taken, {faults} read differently")
    sys.exit(faults > 0 or taken < done // 10)


if __name__ == "__main__":
    main()
