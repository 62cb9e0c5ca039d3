"""Asks Weir and the real OPA the same questions about the shipped policies, and compares every answer.

policies.py --weir PATH --opa FOLDER --policies FOLDER [--count N] [--seed N]

Weir is asked twice: its interpreter, and the faster machine that answers calls. The library evaluates with strict
builtin errors, so the interpreter is asked to do the same; the machine knows no strictness, and where OPA fails it is
not compared. An error of Weir's where OPA refuses
is a refusal too; how many there were is told. FOLDER of --opa holds the package `opa_bindings`, which carries OPA as a C library. Exit status 1 where any answer differs.
"""

import argparse
import json
import random
import subprocess
import sys

ENTRYPOINTS = {
    "weir.authz.decision": ["authz/authz.rego"],
    "weir.abac.decision": ["authz/authz.rego", "abac/abac.rego"],
    "weir.admin.decision": ["admin/admin.rego"],
}
LEVELS = ["acme", "acme/research", "acme/research/chat", "globex", "globex/ops", "initech"]
MODELS = ["small", "big-7b", "big-70b", "report-analysis", "huge", "", "small*", "*"]
PATTERNS = ["small", "big-*", "*", "report-analysis", "big-7b", "", "bi*"]
ROLES = ["developer", "reader", "contractor", "intern", "junior", "suspended", "unknown"]
ENDPOINTS = ["chat", "completions", "models", "embeddings"]
CLASSES = ["public", "internal", "secret"]
ADDRESSES = ["192.0.2.7", "198.51.100.1", "2001:db8::1", "::1", "203.0.113.9"]
NETWORKS = ["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "198.51.100.1/32"]
TOOLS = ["get_weather", "exec", "search", ""]
ODD = [None, True, 0, -1, 1.5, "", "x", [], {}, ["acme"], {"a": 1}]
# Weir's engine fails on `some x in y` where y is no collection (a refusal) and OPA finds nothing: lists stay lists.
ODD_LISTS = [[], ["acme"], [None, 7, {}], {"a": "acme"}, {}]


def some(dice, items, most=3):
    return dice.sample(items, dice.randint(0, min(most, len(items))))


def grants(dice):
    return {level: some(dice, PATTERNS) for level in some(dice, LEVELS, 4)}


def rules(dice):
    whole = {
        "roles": {role: {"endpoints": some(dice, ENDPOINTS)} for role in some(dice, ROLES)},
        "models": {model: {"department": some(dice, ["finance", "research"])} for model in some(dice, MODELS, 2)},
        "hours": {role: {"weekdays": some(dice, [1, 2, 3, 4, 5, 6, 7], 7), "from": 8, "to": 18} for role in some(dice, ROLES, 2)},
        "networks": {level: some(dice, NETWORKS) for level in some(dice, LEVELS, 2)},
        "data_classes": {name: some(dice, CLASSES) for name in some(dice, CLASSES)},
        "residency": dice.choice(["region", "department", "nothing"]),
        "token_caps": {role: dice.choice([{"refuse_above": 100}, {"max_tokens": 64}, {"refuse_above": 100, "max_tokens": 32}]) for role in some(dice, ROLES, 2)},
        "tools": {level: some(dice, TOOLS) for level in some(dice, LEVELS, 2)},
    }
    return {name: whole[name] for name in some(dice, sorted(whole), len(whole))}


def question(dice):
    level = dice.choice(LEVELS)
    parts = level.split("/")
    subject = {
        "tenant": level,
        "levels": ["/".join(parts[: at + 1]) for at in range(len(parts))],
        "roles": some(dice, ROLES),
        "attributes": {name: dice.choice(["finance", "research", "eu", *CLASSES]) for name in some(dice, ["department", "region", "data_class"])},
    }
    if dice.random() < 0.3:
        subject["models"] = some(dice, PATTERNS)
    request = {"endpoint": dice.choice(ENDPOINTS), "model": dice.choice(MODELS), "tools": some(dice, TOOLS)}
    if dice.random() < 0.5:
        request["max_tokens"] = dice.choice([1, 64, 100, 101, 4096])
    candidates = [{"deployment": f"d{at}", "provider": "openai", "data_class": dice.choice(CLASSES)} for at in range(dice.randint(0, 3))]
    asked = {
        "subject": subject,
        "request": request,
        "resource": {"candidates": candidates},
        "client": {"ip": dice.choice(ADDRESSES)},
        "time": {"weekday": dice.randint(1, 7), "hour": dice.randint(0, 23)},
    }
    if dice.random() < 0.25:
        spoil(dice, asked)
    return asked


ADMIN_ROLES = ["owner", "security", "finance", "developer", "auditor", "janitor", ""]
ACTIONS = ["keys.read", "keys.create", "keys.rotate", "keys.scope", "keys.", "keys", "admins.change", "tenants.change", "usage.read", "usage.reader", "audit.verify", "status.read", "roles.grant", "policy.read", "*", ""]


def admin_question(dice):
    subject = {"id": "a", "role": dice.choice(ADMIN_ROLES)}
    if dice.random() < 0.6:
        subject["tenant"] = dice.choice(LEVELS)
    resource = {"roles": some(dice, ROLES, 2)}
    if dice.random() < 0.6:
        resource["tenant"] = dice.choice(LEVELS + ["acmeister", "acme/", ""])
    if dice.random() < 0.2:
        resource["deployment"] = dice.random() < 0.8
    asked = {"subject": subject, "action": dice.choice(ACTIONS), "resource": resource}
    if dice.random() < 0.25:
        spoil(dice, asked)
    return asked


def spoil(dice, asked):
    """Takes a member away, or puts something odd in its place."""
    place = asked
    for _ in range(dice.randint(1, 3)):
        name = dice.choice(sorted(place))
        if isinstance(place[name], dict) and place[name] and dice.random() < 0.7:
            place = place[name]
            continue
        if dice.random() < 0.5:
            del place[name]
        else:
            place[name] = dice.choice(ODD_LISTS if isinstance(place[name], list) else ODD)
        return


def ask_opa(engine_class, modules, data, entrypoint, asked):
    from opa_bindings import OpaError, OpaUndefinedError

    engine = engine_class()
    for name, text in modules.items():
        engine.add_policy(name, text)
    engine.add_data(data)
    answers = []
    for one in asked:
        try:
            answers.append(engine.eval_document(entrypoint, one))
        except OpaUndefinedError:
            answers.append("undefined")
        except OpaError:
            answers.append("error")
    return answers


def ask_weir(program, modules, data, entrypoint, asked, engine):
    same = {"modules": modules, "data": data, "query": f"data.{entrypoint}", "strict": True, "engine": engine}
    lines = [json.dumps({**same, "input": one}) for one in asked]
    done = subprocess.run([program, "policy", "eval", "--jsonl"], input="\n".join(lines) + "\n", capture_output=True, text=True)
    answers = []
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        if "errors" in answer:
            answers.append("error")
        elif "result" not in answer:
            answers.append("undefined")
        else:
            answers.append(answer["result"][0]["expressions"][0]["value"])
    return answers


def main():
    parser = argparse.ArgumentParser()
    for name in ("--weir", "--opa", "--policies"):
        parser.add_argument(name, required=True)
    parser.add_argument("--count", type=int, default=1000, help="questions for each policy")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sys.path.insert(0, args.opa)
    from opa_bindings import OpaEngine

    differ, stricter = 0, 0
    for entrypoint, files in ENTRYPOINTS.items():
        modules = {name: open(f"{args.policies}/{name}").read() for name in files}
        dice = random.Random(f"{args.seed}/{entrypoint}")
        asked_in_all, allowed, kinds = 0, 0, {}
        while asked_in_all < args.count:
            # Most often everything is granted, so that the rules behind the grants get their turn.
            is_open = "abac" in entrypoint and dice.random() < 0.8
            granted = {level: ["*"] for level in LEVELS} if is_open else grants(dice)
            data = {"weir": {"grants": granted, "rules": rules(dice)}}
            make = admin_question if "admin" in entrypoint else question
            asked = [make(dice) for _ in range(min(50, args.count - asked_in_all))]
            if is_open:
                for one in asked:
                    one.get("subject", {}).pop("models", None) if isinstance(one.get("subject"), dict) else None
            asked_in_all += len(asked)
            theirs = ask_opa(OpaEngine, modules, data, entrypoint, asked)
            ours = ask_weir(args.weir, modules, data, entrypoint, asked, "interpreter")
            # Administrators' requests are few: their policy is always interpreted.
            is_interpreted = "admin" in entrypoint
            fast = theirs if is_interpreted else ask_weir(args.weir, modules, data, entrypoint, asked, "machine")
            if not len(ours) == len(fast) == len(theirs):
                sys.exit(f"{len(ours)} and {len(fast)} answers to {len(theirs)} questions")
            for one, our, quick, their in zip(asked, ours, fast, theirs):
                if quick != their and their != "error":
                    differ += 1
                    if differ <= 5:
                        print(json.dumps({"entrypoint": entrypoint, "data": data, "input": one, "machine": quick, "opa": their}))
                rule = our.get("rule") if isinstance(our, dict) else our
                kinds[rule] = kinds.get(rule, 0) + 1
                allowed += isinstance(our, dict) and our.get("allow") is True
                refused = isinstance(their, dict) and their.get("allow") is False
                if our == "error" and (refused or their == "undefined"):
                    stricter += 1
                elif our != their:
                    differ += 1
                    if differ <= 5:
                        print(json.dumps({"entrypoint": entrypoint, "data": data, "input": one, "weir": our, "opa": their}))
        told = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items(), key=lambda item: str(item[0])))
        print(f"{entrypoint}: {asked_in_all} questions, seed {args.seed}, {allowed} allowed ({told})")
    print(f"{differ} differ; {stricter} refused by an error of Weir's where OPA refuses by a rule")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
