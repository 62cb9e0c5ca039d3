#!/usr/bin/env python3
"""Golden vectors of prices, made without any of Weir's code.

    prices.py write   writes tests/cases/prices/*.jsonl
    prices.py check   fails where they differ from what it would write

Each vector starts from what was used, in buckets that don't overlap. From them the report is written as its provider
would send it, and the cost is summed in exact fractions from the book, rounded once, half to even. So neither the
reading of reports nor the arithmetic of Weir is repeated here.
"""

import json
import random
import sys
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "cases" / "prices"
UNITS = {"1": 1, "1K": 1000, "1M": 10**6, "second": 1000, "minute": 60_000, "hour": 3_600_000}
# Which bucket's price is taken where one has none, in order.
PLAINER = {
    "input_audio": ["input"], "input_image": ["input"], "input_video": ["input"],
    "cache_read": ["input"],
    "cache_read_audio": ["input_audio", "cache_read", "input"],
    "cache_read_image": ["input_image", "cache_read", "input"],
    "cache_read_video": ["input_video", "cache_read", "input"],
    "cache_write_5m": ["input"], "cache_write_1h": ["cache_write_5m", "input"],
    "output_audio": ["output"], "output_image": ["output"], "reasoning": ["output"],
}
INPUT = ["input_text", "input_audio", "input_image", "input_video", "cache_read", "cache_read_audio",
         "cache_read_image", "cache_read_video", "cache_write_5m", "cache_write_1h"]
OUTPUT = ["output_text", "output_audio", "output_image", "reasoning"]
ORDER = INPUT + OUTPUT + ["web_searches", "file_searches", "code_runs", "images", "audio_ms", "video_ms",
                          "characters", "pages", "search_units", "requests"]


def moment(text):
    if len(text) == 10:
        text += "T00:00:00Z"
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


def ratio(text):
    amount, unit = text.split(" per ")
    return Fraction(amount) * 10**9 / UNITS[unit]


def key(bucket):
    return {"input_text": "input", "output_text": "output"}.get(bucket, bucket)


def lookup(layers, bucket, picture):
    for name in [key(bucket)] + PLAINER.get(bucket, []):
        for layer in layers:
            if name in layer:
                price = layer[name]
                price = price if isinstance(price, str) else price.get(picture, price.get("*"))
                return price and ratio(price)
    return None


def entry_of(book, vector):
    at = moment(vector["at"])
    best = None
    for entry in book["prices"]:
        name = entry["model"]
        fits = vector["model"].startswith(name[:-1]) if name.endswith("*") else vector["model"] == name
        if entry["provider"] != vector["provider"] or not fits:
            continue
        if "from" in entry and at < moment(entry["from"]) or "to" in entry and at >= moment(entry["to"]):
            continue
        if "region" in entry and entry["region"] != vector.get("region"):
            continue
        rank = (not name.endswith("*"), len(name), "region" in entry)
        if best is None or rank > best[0]:
            best = (rank, entry)
    return best[1] if best else None


def layers_of(entry, tier, tokens):
    """The prices that apply, the first that has one wins; None where the tier has none."""
    bands = [band for band in entry.get("above", []) if tokens > band["tokens"]]
    band = max(bands, key=lambda band: band["tokens"], default=None)
    scopes = [scope for scope in (band, entry) if scope is not None]
    if tier == "priority":
        own = scopes[0].get("tiers", {}).get("priority")
        return None if own is None else [own]
    layers = []
    for scope in scopes:
        if tier in scope.get("tiers", {}):
            layers.append(scope["tiers"][tier])
        layers.append(scope)
    return layers


def half_even(value):
    return round(value)  # of a Fraction: half to even, exactly


def discount_of(book, vector):
    found = None
    for discount in book.get("discounts", []):
        top, tenant = discount.get("tenant"), vector.get("tenant")
        if top is not None and tenant != top and not (tenant or "").startswith(top + "/"):
            continue
        at = moment(vector["at"])
        if "from" in discount and at < moment(discount["from"]) or "to" in discount and at >= moment(discount["to"]):
            continue
        fits = all(
            value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern
            for pattern, value in ((discount["provider"], vector["provider"]), (discount["model"], vector["model"]))
        )
        if fits and (found is None or len(top or "") > len(found.get("tenant") or "")):
            found = discount
    return found


def total(layers, used, picture):
    sums = Fraction(0)
    for bucket, amount in used.items():
        price = lookup(layers, bucket, picture)
        if price is None and bucket == "requests":
            continue
        if price is None:
            return None
        sums += price * amount
    return sums


def cost(book, vector, used):
    """Status, what is paid and what the list says, in nano-dollars."""
    entry = entry_of(book, vector)
    tokens = sum(used.get(bucket, 0) for bucket in INPUT)
    layers = layers_of(entry, vector.get("tier", "standard"), tokens) if entry else None
    plain = [scope for scope in (entry or {},)]
    sums = None
    if layers is not None:
        tokens_of = {bucket: amount for bucket, amount in used.items() if bucket in INPUT + OUTPUT}
        others = {bucket: amount for bucket, amount in used.items() if bucket not in INPUT + OUTPUT}
        parts = [total(layers, tokens_of, None), total(layers + plain, others, vector.get("picture"))]
        sums = None if None in parts else sum(parts)
    worth = Fraction(1)
    if "currency" in book:
        known = [rate for rate in book["rates"] if moment(rate["from"]) <= moment(vector["at"])]
        if not known:
            return "unpriced", None, None
        worth = Fraction(max(known, key=lambda rate: moment(rate["from"]))["usd"])
    discount = discount_of(book, vector)
    if sums is None:
        return "unpriced", None, None
    paid = sums
    if discount and "percent" in discount:
        paid = sums * (1 - Fraction(discount["percent"]) / 100)
    elif discount:
        paid = total([discount["prices"]], used, vector.get("picture"))
        if paid is None:
            return "unpriced", None, None
    return "priced", half_even(paid * worth), half_even(sums * worth)


# What each provider sends for what was used.

def get(used, *names):
    return sum(used.get(name, 0) for name in names)


def openai(used, beside=False, names=("prompt_tokens", "completion_tokens", "prompt_tokens_details",
                                      "completion_tokens_details")):
    prompt, reasoning = get(used, *INPUT), get(used, "reasoning")
    out = get(used, *OUTPUT)
    sent = {names[0]: prompt, names[1]: out - reasoning if beside else out, "total_tokens": prompt + out}
    details = {"cached_tokens": get(used, "cache_read", "cache_read_audio", "cache_read_image")}
    for kind in ("audio", "image"):
        tokens = get(used, f"input_{kind}", f"cache_read_{kind}")
        if tokens:
            details[f"{kind}_tokens"] = tokens
            details["text_tokens"] = get(used, "input_text", "cache_read", "cache_write_5m")
    if get(used, "cache_read_audio", "cache_read_image"):
        details["cached_tokens_details"] = {
            f"{kind}_tokens": get(used, f"cache_read_{kind}" if kind != "text" else "cache_read")
            for kind in ("text", "audio", "image")
        }
    if "cache_write_5m" in used:
        details["cache_write_tokens"] = used["cache_write_5m"]
    sent[names[2]] = details
    sent[names[3]] = {"reasoning_tokens": reasoning, "audio_tokens": get(used, "output_audio")}
    if "output_image" in used:
        sent[names[3]]["image_tokens"] = used["output_image"]
    if "web_searches" in used:
        sent["num_search_queries"] = used["web_searches"]
    return sent


def responses(used):
    return openai(used, names=("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"))


def anthropic(used):
    sent = {"input_tokens": get(used, "input_text"), "output_tokens": get(used, "output_text", "reasoning")}
    short, long = get(used, "cache_write_5m"), get(used, "cache_write_1h")
    sent["cache_read_input_tokens"] = get(used, "cache_read")
    sent["cache_creation_input_tokens"] = short + long
    if long or short % 2:
        sent["cache_creation"] = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    if "reasoning" in used:
        sent["output_tokens_details"] = {"thinking_tokens": used["reasoning"]}
    if "web_searches" in used:
        sent["server_tool_use"] = {"web_search_requests": used["web_searches"]}
    return sent


def gemini(used):
    kinds = {"TEXT": ("input_text", "cache_read"), "AUDIO": ("input_audio", "cache_read_audio"),
             "IMAGE": ("input_image", "cache_read_image"), "VIDEO": ("input_video", "cache_read_video")}
    prompt, cached = get(used, *INPUT), get(used, *(pair[1] for pair in kinds.values()))
    tools = used.get("input_text", 0) // 3
    sent = {"promptTokenCount": prompt - tools, "candidatesTokenCount": get(used, "output_text", "output_image",
            "output_audio"), "totalTokenCount": prompt + get(used, *OUTPUT)}
    if tools:
        sent["toolUsePromptTokenCount"] = tools
    if cached:
        sent["cachedContentTokenCount"] = cached
        sent["cacheTokensDetails"] = [{"modality": kind, "tokenCount": used[pair[1]]}
                                      for kind, pair in kinds.items() if pair[1] in used]
    if "reasoning" in used:
        sent["thoughtsTokenCount"] = used["reasoning"]
    sent["promptTokensDetails"] = [
        {"modality": kind, "tokenCount": get(used, *pair) - (tools if kind == "TEXT" else 0)}
        for kind, pair in kinds.items() if get(used, *pair)]
    if not sent["promptTokensDetails"]:
        del sent["promptTokensDetails"]
    if get(used, "output_image", "output_audio"):
        sent["candidatesTokensDetails"] = [
            {"modality": kind, "tokenCount": used[name]} for kind, name in
            (("TEXT", "output_text"), ("IMAGE", "output_image"), ("AUDIO", "output_audio")) if name in used]
    return sent


def bedrock(used):
    sent = {"inputTokens": get(used, "input_text"), "outputTokens": get(used, *OUTPUT),
            "totalTokens": get(used, *INPUT) + get(used, *OUTPUT),
            "cacheReadInputTokens": get(used, "cache_read"),
            "cacheWriteInputTokens": get(used, "cache_write_5m", "cache_write_1h")}
    if get(used, "cache_write_1h"):
        sent["cacheDetails"] = [{"ttl": "5m", "inputTokens": get(used, "cache_write_5m")},
                                {"ttl": "1h", "inputTokens": used["cache_write_1h"]}]
    return sent


def cohere(used):
    names = {"input_text": "input_tokens", "output_text": "output_tokens", "search_units": "search_units"}
    return {"billed_units": {names[bucket]: amount for bucket, amount in used.items()}}


def seconds(used):
    return {"type": "duration", "seconds": used["audio_ms"] / 1000 if used["audio_ms"] % 1000 else
            used["audio_ms"] // 1000}


# Which kinds each model may use: (provider, model, how it reports, buckets).
TEXT = ["input_text", "output_text"]
CACHED = TEXT + ["cache_read"]
THINKING = CACHED + ["reasoning"]
MODELS = [
    ("openai", "gpt-4o", openai, CACHED), ("openai", "gpt-4o-2024-08-06", openai, CACHED),
    ("openai", "gpt-5.4", openai, THINKING), ("openai", "gpt-5.4", responses, THINKING + ["cache_write_5m"]),
    ("openai", "gpt-audio", openai, TEXT + ["input_audio", "output_audio"]),
    ("openai", "gpt-image-2", responses, ["input_text", "input_image", "cache_read", "cache_read_image",
                                          "output_image"]),
    ("openai", "whisper-1", seconds, ["audio_ms"]), ("openai", "text-embedding-3-small", openai, ["input_text"]),
    ("xai", "grok-4", lambda used: openai(used, beside=True), THINKING + ["input_image"]),
    ("perplexity", "sonar", openai, TEXT + ["web_searches"]),
    ("anthropic", "claude-sonnet-4-5", anthropic, THINKING + ["cache_write_5m", "cache_write_1h", "web_searches"]),
    ("gemini", "gemini-2.5-pro", gemini, THINKING), ("gemini", "gemini-2.5-flash", gemini, THINKING +
     ["input_audio", "cache_read_audio", "input_image", "input_video"]),
    ("gemini", "gemini-2.5-flash-image", gemini, TEXT + ["input_image", "output_image"]),
    ("bedrock", "anthropic.claude-sonnet-4-5", bedrock, CACHED + ["cache_write_5m", "cache_write_1h"]),
    ("cohere", "rerank-v3.5", cohere, ["search_units"]), ("cohere", "command-r", cohere, TEXT),
    ("half", "even", openai, THINKING),
]
DAYS = ["2025-12-31T23:59:59.999Z", "2026-01-01", "2026-06-30T23:59:59.999Z", "2026-07-01T01:59:59.999+02:00",
        "2026-07-01T00:00:00Z", "2026-06-30T19:00:00-05:00", "2026-11-25T12:00:00Z", "2028-02-29"]


def vector(book, provider, model, report, used, **more):
    asked = {"provider": provider, "model": model, "at": "2026-11-25T12:00:00Z", **more}
    used = {bucket: used[bucket] for bucket in ORDER if used.get(bucket)}
    status, paid, listed = cost(book, asked, used)
    asked["usage" if report else "buckets"] = report(used) if report else used
    told = {"status": status, "nano_usd": paid, "buckets": used}
    if listed != paid:
        told["list_nano_usd"] = listed
    return {"asked": asked, "told": told}


def amounts(rng, buckets, most):
    """Some of the buckets, of very different sizes; one at least."""
    used = {bucket: rng.randint(1, rng.choice([9, 900, most])) for bucket in buckets if rng.random() < 0.75}
    # Output without any input is half a report, which is not priced.
    if not any(bucket in INPUT for bucket in used) and (not used or any(bucket in OUTPUT for bucket in used)):
        used[buckets[0]] = rng.randint(1, most)
    return used


def usages(book):
    rng = random.Random(5)
    for provider, model, report, buckets in MODELS:
        for tier in ("standard", "batch", "flex", "priority"):
            for most in (5_000, 90_000, 400_000):
                more = {} if tier == "standard" else {"tier": tier}
                yield vector(book, provider, model, report, amounts(rng, buckets, most), **more)
    for tokens in (199_999, 200_000, 200_001):
        for cached in (0, 150_000):
            used = {"input_text": tokens - cached, "cache_read": cached, "output_text": 100}
            yield vector(book, "gemini", "gemini-2.5-pro", gemini, used)
            yield vector(book, "anthropic", "claude-sonnet-4-5", anthropic, used)
            yield vector(book, "anthropic", "claude-sonnet-4-5", anthropic, used, tier="batch")
    for tokens in (271_999, 272_000, 272_001):
        for tier in ("standard", "batch", "flex", "priority"):
            yield vector(book, "openai", "gpt-5.4", responses, {"input_text": tokens, "reasoning": 7}, tier=tier)
    for tokens in range(1, 24):
        yield vector(book, "half", "even", openai, {"input_text": tokens, "output_text": tokens % 3})


def terms(book):
    rng = random.Random(6)
    for day in DAYS:
        for tenant in (None, "acme", "acme/labs", "acmes"):
            more = {"at": day} | ({"tenant": tenant} if tenant else {})
            yield vector(book, "openai", "gpt-4o", openai, amounts(rng, CACHED, 50_000), **more)
            yield vector(book, "dated", "m", openai, amounts(rng, CACHED, 50_000), **more)
    for region in (None, "eu", "us"):
        more = {"region": region} if region else {}
        yield vector(book, "dated", "m", openai, {"input_text": 1001, "output_text": 77}, **more)
    for size in ("1024x1024/low", "1024x1024/high", "1536x1024/high", None):
        more = {"picture": size} if size else {}
        yield vector(book, "pictures", "sized", None, {"images": 3}, **more)
        yield vector(book, "pictures", "flat", None, {"images": 3}, **more)
    for bucket, amount in (("audio_ms", 1), ("audio_ms", 90_500), ("video_ms", 8_000), ("video_ms", 7), ("pages", 12),
                           ("characters", 4_321), ("code_runs", 2), ("file_searches", 9), ("requests", 3)):
        yield vector(book, "things", "all", None, {bucket: amount, "input_text": 1})
        yield vector(book, "openai", "gpt-4o", None, {bucket: amount, "input_text": 1})


def euros(book):
    rng = random.Random(7)
    for day in DAYS:
        for _ in range(4):
            yield vector(book, "mistral", "large", openai, amounts(rng, CACHED, 100_000), at=day)


def vectors():
    for name, make, book in (("usages", usages, "book"), ("terms", terms, "book"), ("euros", euros, "euros")):
        loaded = json.loads((FOLDER / f"{book}.yaml").read_text())
        yield name, [json.dumps(made, separators=(",", ":")) for made in make(loaded)]


def main():
    count = 0
    for name, lines in vectors():
        path, text = FOLDER / f"{name}.jsonl", "\n".join(lines) + "\n"
        count += len(lines)
        if sys.argv[1:] == ["write"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path} differs: run `prices.py write` and look at the difference")
    print(f"{count} vectors")


if __name__ == "__main__":
    main()
