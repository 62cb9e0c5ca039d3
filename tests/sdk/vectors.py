"""OpenAI's own SDK on `/v1/embeddings`, with nothing changed but the address and the key."""

import openai
from chapter import check, client, raised


def main():
    acme = client()
    answer = acme.embeddings.create(model="mock", input="hi", encoding_format="float")
    check("a vector", answer.data[0].embedding == [0.25, -0.5], answer)
    check("its usage", answer.usage.prompt_tokens == 7, answer)
    raised(openai.BadRequestError, lambda: acme.embeddings.create(model="mock", input=[], encoding_format="float"))


main()
