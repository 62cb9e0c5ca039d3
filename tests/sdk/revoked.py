"""A key is revoked while its stream runs: both the stream and the next call end within a second."""

import time

import openai
from chapter import FACTS, audit_record, call_of_stream, check, client, hear, raised, tell, usage_row, user


def main():
    acme = client()
    ask = {"model": FACTS["model"], "messages": user("count"), "max_tokens": 4000}
    other = client("globex").chat.completions.create(**ask, stream=True)
    stream = acme.chat.completions.create(**ask, stream=True)
    call, seen, error, revoked_at = call_of_stream(stream), 0, None, None
    try:
        for _ in stream:
            seen += 1
            if seen == 3:
                tell("third chunk")
                revoked_at = hear()["done_at"]
    except openai.APIError as raised_error:
        error, ended_at = raised_error, time.time()
    check("the stream ends with an error", type(error) is openai.APIError, error, seen)
    check("its code", error.code == "key_revoked", error.body)
    check("within a second", ended_at - revoked_at < 1.0, ended_at - revoked_at)
    refused = raised(openai.AuthenticationError, lambda: acme.chat.completions.create(**{**ask, "max_tokens": 1}))
    check("the next call is refused", refused.code == "invalid_api_key", refused.body)
    check("that too within a second", time.time() - revoked_at < 1.5, time.time() - revoked_at)
    record = audit_record(call)
    check("outcome", (record["outcome"], record["reason"]) == ("revoked", "key_revoked"), record)
    row = usage_row(call)
    check("what was made is charged", row["output_tokens"] >= 3 and row["estimated"] == 0, row)
    check("another key's stream runs on", bool(next(other).choices))
    other.close()


main()
