"""OpenAI's own SDK on `/v1/responses`, with nothing changed but the address and the key."""

import openai
from chapter import check, client, raised

ASK = {"model": "mock", "input": "hi"}


def main():
    acme, globex = client(), client("globex")
    answer = acme.responses.create(**ASK)
    check("a response", answer.output_text == "a b c" and answer.status == "completed", answer)
    check("its usage", (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3), answer)
    kinds = [event.type for event in acme.responses.create(**ASK, stream=True)]
    check("a stream", kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds)
    read = acme.responses.retrieve(answer.id)
    check("a stored one", read.output_text == "a b c", read)
    items = acme.responses.input_items.list(answer.id)
    check("its input", items.data == [], items)
    raised(openai.NotFoundError, lambda: globex.responses.retrieve(answer.id))
    acme.responses.delete(answer.id)
    raised(openai.NotFoundError, lambda: acme.responses.retrieve(answer.id))
    raised(openai.NotFoundError, lambda: acme.responses.create(**{**ASK, "model": "none"}))
    raised(openai.BadRequestError, lambda: acme.responses.create(**ASK, background=True))
    error = raised(openai.APIError, lambda: list(acme.responses.create(**ASK, stream=True)))
    check("a cut stream is an exception", error.code == "upstream_disconnected", error.body)


main()
