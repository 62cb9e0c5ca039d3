"""A provider that fails: each way is an exception of the SDK's own, and the gateway gone is a connection error."""

import openai
from chapter import audit_record, check, client, hear, raised, tell, user


def main():
    acme = client()
    chat = lambda model, **more: (lambda: acme.chat.completions.create(model=model, messages=user("hi"), **more))

    error = raised(openai.InternalServerError, chat("nobody"))
    check("nobody listens", (error.status_code, error.code) == (502, "upstream_unreachable"), error.body)
    check("nobody listens: recorded", audit_record(error.request_id)["outcome"] == "upstream_error")
    error = raised(openai.InternalServerError, chat("nobody"))
    check("nobody listens, known by now", error.status_code in (502, 503), error.body)
    error = raised(openai.InternalServerError, chat("failing"))
    check("it fails", (error.status_code, error.code) == (502, "upstream_failed"), error.body)
    error = raised(openai.RateLimitError, chat("busy"))
    check("it is busy", error.code == "upstream_rate_limited", error.body)
    check("it is busy: its own hint", error.response.headers["retry-after"] == "7", error.response.headers)
    error = raised(openai.BadRequestError, chat("picky"))
    check("it refuses the request in its own words", error.message.endswith("no cats"), error.body)

    for model, parts, code in (("breaking", 2, None), ("cut", 2, "upstream_disconnected")):
        texts = []

        def read():
            for chunk in chat(model, stream=True)():
                texts.extend(choice.delta.content for choice in chunk.choices if choice.delta.content)

        error = raised(openai.APIError, read)
        check(f"{model} in mid-stream: what came before is there", len(texts) == parts, texts)
        check(f"{model} in mid-stream: an error", code is None or error.code == code, error.body)

    tell("served")
    hear()
    raised(openai.APIConnectionError, chat("nobody"))
    check("the gateway is gone", True)


main()
