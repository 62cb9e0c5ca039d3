"""The gateway is killed in mid-stream and started again on its folder: the same key works, and nothing is lost."""

import openai
from chapter import call_of_stream, check, check_accounted, client, hear, raised, tell, user

ASK = {"model": "smollm2", "messages": user("Tell a long story about a river."), "temperature": 0}


def main():
    acme = client()
    before = acme.chat.completions.create(**ASK, max_tokens=4)
    check_accounted("before", before._request_id, before.usage)
    stream = acme.chat.completions.create(**ASK, max_tokens=1500, stream=True)
    call, seen, error = call_of_stream(stream), 0, None
    try:
        for chunk in stream:
            seen += sum(1 for choice in chunk.choices if choice.delta.content)
            if seen == 3:
                tell("third chunk", call=call, before=before._request_id)
    except openai.APIConnectionError as raised_error:
        error = raised_error
    check("the stream does not end in silence", error is not None, seen)
    tell("cut")
    hear()
    raised(openai.APIConnectionError, lambda: acme.chat.completions.create(**ASK, max_tokens=4))
    check("gone is a connection error", True)
    tell("refused")
    hear()
    after = acme.chat.completions.create(**ASK, max_tokens=4)
    check("after: the same key, the same answer", after.choices[0].message.content == before.choices[0].message.content)
    check_accounted("after", after._request_id, after.usage)


main()
