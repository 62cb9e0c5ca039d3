"""Anthropic's own SDK, with nothing changed but the address and the key."""

import anthropic
from chapter import FACTS, check, key_of

ASK = {"model": "mock", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


def client(**more):
    settings = {"base_url": FACTS["base_url"], "api_key": key_of("acme"), "max_retries": 0, "timeout": 60.0}
    return anthropic.Anthropic(**{**settings, **more})


def refused(name, kind, call):
    try:
        answer = call()
    except anthropic.APIStatusError as error:
        check(f"{name}: the SDK's own exception", type(error) is kind, error)
        check(f"{name}: the call's id", bool(error.request_id), error.response.headers)
        check(f"{name}: the dialect's body", error.body["type"] == "error", error.body)
        return
    raise AssertionError(f"{name}: an answer: {answer}")


def main():
    acme = client()
    answer = acme.messages.create(**ASK)
    check("a message", answer.content[0].text == "a b c" and answer.stop_reason == "end_turn", answer)
    check("its usage", (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3), answer)
    check("its call's id", bool(answer._request_id), answer)
    with acme.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    check("a stream", text == "a b c", text)
    check("a stream's usage", (final.usage.input_tokens, final.usage.output_tokens) == (7, 3), final)
    kinds = [event.type for event in acme.messages.create(**ASK, stream=True)]
    check("raw events", kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds)
    counted = acme.messages.count_tokens(model="mock", messages=ASK["messages"])
    check("counting", counted.input_tokens == 7, counted)
    refused("no such model", anthropic.NotFoundError, lambda: acme.messages.create(**{**ASK, "model": "none"}))
    refused("a bad cap", anthropic.BadRequestError, lambda: acme.messages.create(**{**ASK, "max_tokens": 0}))
    refused("a stranger", anthropic.AuthenticationError, lambda: client(api_key="sk-ant-x").messages.create(**ASK))


main()
