"""Answers of the real model, with only base_url and api_key changed, and what the ledger says of them."""

import asyncio

from chapter import (
    FACTS,
    async_client,
    call_of_stream,
    check,
    check_accounted,
    client,
    cost_nano,
    text_of,
    usage_row,
    user,
)

ASK = {"model": "smollm2", "messages": user("Name three rivers of Europe."), "temperature": 0, "max_tokens": 24}


def main():
    acme = client()
    plain = whole(acme)
    streamed(acme, plain)
    choices(acme)
    stop(acme, plain)
    logprobs(acme, plain)
    seeds(acme)
    caps(acme, plain)
    completions(acme)
    models(acme)
    asyncio.run(side_by_side(plain))
    sdk_stream_events(acme, plain)


def whole(acme):
    answer = acme.chat.completions.create(**ASK)
    text, usage = answer.choices[0].message.content, answer.usage
    check("whole: text", answer.object == "chat.completion" and len(text) > 10, answer)
    check("whole: role", answer.choices[0].message.role == "assistant", answer)
    check("whole: finish", answer.choices[0].finish_reason in ("stop", "length"), answer)
    check("whole: usage adds up", usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage)
    check("whole: within the cap", 0 < usage.completion_tokens <= 24 and usage.prompt_tokens > 5, usage)
    check_accounted("whole", answer._request_id, usage)
    return answer


def streamed(acme, plain):
    stream = acme.chat.completions.create(**ASK, stream=True)
    call = call_of_stream(stream)
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    check("streamed: the same text", text == plain.choices[0].message.content, text, plain)
    check("streamed: the same end", chunks[-1].choices[0].finish_reason == plain.choices[0].finish_reason, chunks[-1])
    check("streamed: one answer", len({chunk.id for chunk in chunks}) == 1, chunks)
    check("streamed: several chunks", sum(bool(c.choices[0].delta.content) for c in chunks) > 3, chunks)
    check("streamed: no usage unasked", all(chunk.usage is None and chunk.choices for chunk in chunks), chunks)
    check_accounted("streamed", call, plain.usage)

    stream = acme.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    call = call_of_stream(stream)
    *before, last = list(stream)
    check("usage asked: one chunk of it, at the end", last.choices == [] and all(c.usage is None for c in before), last)
    check("usage asked: the same counts", last.usage.model_dump() == plain.usage.model_dump(), last.usage, plain.usage)
    check_accounted("usage asked", call, last.usage)


def choices(acme):
    ask = {**ASK, "temperature": 1.0, "seed": 11, "n": 3}
    answer = acme.chat.completions.create(**ask)
    texts = [choice.message.content for choice in answer.choices]
    check("n: three choices", [choice.index for choice in answer.choices] == [0, 1, 2], answer)
    check("n: not thrice the same", len(set(texts)) > 1, texts)
    check("n: usage of all", 24 < answer.usage.completion_tokens <= 72, answer.usage)
    check_accounted("n", answer._request_id, answer.usage)

    stream = acme.chat.completions.create(**ask, stream=True)
    parts = ["", "", ""]
    for chunk in stream:
        for choice in chunk.choices:
            parts[choice.index] += choice.delta.content or ""
    check("n streamed: the same three", parts == texts, parts, texts)


def stop(acme, plain):
    text = plain.choices[0].message.content
    # A piece in the middle that is cut across words, so that it can't be one token.
    middle = text[len(text) // 2 - 2 : len(text) // 2 + 2]
    before = text[: text.index(middle)]
    answer = acme.chat.completions.create(**ASK, stop=[middle])
    check("stop: cut before it", answer.choices[0].message.content == before, answer, middle)
    check("stop: reason", answer.choices[0].finish_reason == "stop", answer)
    streamed_text = text_of(acme.chat.completions.create(**ASK, stop=middle, stream=True))
    check("stop streamed: nothing of it leaks", streamed_text == before, streamed_text, before)
    check_accounted("stop", answer._request_id, answer.usage)


def logprobs(acme, plain):
    answer = acme.chat.completions.create(**ASK, logprobs=True, top_logprobs=5)
    tokens = answer.choices[0].logprobs.content
    text = b"".join(bytes(token.bytes) for token in tokens).decode()
    check("logprobs: the text", text == plain.choices[0].message.content, text, plain)
    # A closing token that ends the answer has no text and no entry of its own.
    made = answer.usage.completion_tokens
    check("logprobs: each token", len(tokens) in (made, made - 1), tokens)
    for token in tokens:
        best = [each.logprob for each in token.top_logprobs]
        holds = len(best) == 5 and best == sorted(best, reverse=True) and best[0] <= 0
        if not holds or token.logprob != best[0] or token.token != token.top_logprobs[0].token:
            raise AssertionError(f"logprobs: {token}")
    check("logprobs: greedy takes the best of five", True)
    stream = acme.chat.completions.create(**ASK, logprobs=True, top_logprobs=5, stream=True)
    seen = [each for chunk in stream for c in chunk.choices if c.logprobs for each in c.logprobs.content or []]
    check("logprobs streamed: the same", [s.token for s in seen] == [t.token for t in tokens], seen, tokens)


def seeds(acme):
    def text(seed):
        answer = acme.chat.completions.create(**{**ASK, "temperature": 1.0, "top_p": 0.95}, seed=seed)
        return answer.choices[0].message.content

    first, again, other = text(7), text(7), text(8)
    check("seed: the same again", first == again, first, again)
    check("seed: another is another", first != other, first)


def caps(acme, plain):
    for name in ("max_tokens", "max_completion_tokens"):
        ask = {key: value for key, value in ASK.items() if key != "max_tokens"}
        answer = acme.chat.completions.create(**ask, **{name: 5})
        check(f"{name}: holds", answer.usage.completion_tokens == 5, answer.usage)
        check(f"{name}: reason", answer.choices[0].finish_reason == "length", answer)
        check(f"{name}: text", plain.choices[0].message.content.startswith(answer.choices[0].message.content), answer)
    answer = acme.chat.completions.create(**ASK, user="somebody", metadata={"ticket": "17"}, store=False)
    check("unread fields pass", answer.choices[0].message.content == plain.choices[0].message.content, answer)


def completions(acme):
    ask = {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    answer = acme.completions.create(**ask)
    check("completions: text", answer.object == "text_completion" and "Paris" in answer.choices[0].text, answer)
    check_accounted("completions", answer._request_id, answer.usage)
    chunks = list(acme.completions.create(**ask, stream=True))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    check("completions streamed: the same text", text == answer.choices[0].text, text, answer)


def models(acme):
    globex = client("globex")
    for name, caller in (("acme", acme), ("globex", globex)):
        granted = next(tenant["models"] for tenant in FACTS["tenants"] if tenant["name"] == name)
        listed = [model.id for model in caller.models.list()]
        check(f"models of {name}: those it may use", sorted(listed) == sorted(granted), listed, granted)
    check("models: one", acme.models.retrieve("assistant").id == "assistant")
    answer = acme.chat.completions.create(**{**ASK, "model": "assistant", "max_tokens": 4})
    check("models: an alias answers", answer.usage.completion_tokens == 4, answer)
    check_accounted("alias", answer._request_id, answer.usage)
    answer = globex.chat.completions.create(**{**ASK, "max_tokens": 4})
    row = usage_row(answer._request_id)
    cost = cost_nano("engine", "smollm2", answer.usage.prompt_tokens, answer.usage.completion_tokens)
    check("models: the other tenant's call", row["cost_nano"] == cost, row, cost)


async def side_by_side(plain):
    """Four streams at once, of which the engine makes batches: each one's text is the text that it has alone."""

    async def one(caller):
        stream = await caller.chat.completions.create(**ASK, stream=True)
        return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

    async with async_client() as caller:
        texts = await asyncio.gather(*(one(caller) for _ in range(4)))
    check("side by side: four times the same", set(texts) == {plain.choices[0].message.content}, texts)


def sdk_stream_events(acme, plain):
    """The SDK's own accumulation of a stream, which takes no answer that ends at a cap."""
    text = plain.choices[0].message.content
    before = text[: text.index(text[12:16])]
    with acme.chat.completions.stream(**ASK, stop=text[12:16], stream_options={"include_usage": True}) as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion()
    check("events: kinds", {"chunk", "content.delta", "content.done"} <= kinds, kinds)
    check("events: text", final.choices[0].message.content == before, final, before)
    check("events: usage", final.usage.prompt_tokens == plain.usage.prompt_tokens, final.usage)


main()
