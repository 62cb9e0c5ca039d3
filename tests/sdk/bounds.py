"""What is too long, and what is left by a caller who goes away: nothing is lost, nothing stays held."""

import openai
from chapter import audit_record, call_of_stream, check, check_accounted, check_all_pages_free, client, raised
from chapter import eventually, usage_row, usage_rows, user

LONG = "The weir holds the river back, and what flows over it is measured. " * 46


def main():
    acme = client()
    overflow(acme)
    hang_up(acme)


def overflow(acme):
    text = "word " * (200 * 1024 // 5)
    for stream in (False, True):
        ask = lambda: acme.chat.completions.create(model="smollm2", messages=user(text), max_tokens=8, stream=stream)
        error = raised(openai.BadRequestError, ask)
        check("overflow: code", error.code == "context_length_exceeded", error.body)
        check("overflow: names the limit", "8192" in error.message, error.message)
        record = audit_record(error.request_id)
        check("overflow: recorded", record["status"] == 400, record)
        check("overflow: costs nothing", all(row["cost_nano"] == 0 for row in usage_rows(error.request_id)))
    check_all_pages_free("overflow: no page is held")


def hang_up(acme):
    ask = {"model": "smollm2", "messages": user(LONG), "temperature": 0}
    check("hang-up: a 3 kB prompt", 3000 < len(LONG) < 3500, len(LONG))
    alone = acme.chat.completions.create(**ask, max_tokens=1)
    stream = acme.chat.completions.create(**ask, max_tokens=900, stream=True)
    call = call_of_stream(stream)
    seen = 0
    for chunk in stream:
        seen += sum(1 for choice in chunk.choices if choice.delta.content)
        if seen == 3:
            break
    stream.close()
    row = eventually("the hang-up is accounted for", lambda: usage_row(call))
    check("hang-up: the prompt is exact", row["input_tokens"] == alone.usage.prompt_tokens, row, alone.usage)
    check("hang-up: counted, not estimated", row["estimated"] == 0, row)
    check("hang-up: what was made", 3 <= row["output_tokens"] < 450, row)
    record = audit_record(call)
    check("hang-up: outcome", record["outcome"] == "hung_up", record)
    check("hang-up: one attempt", [a["output_tokens"] for a in record["attempts"]] == [row["output_tokens"]], record)
    check_all_pages_free("hang-up: its pages are free")
    after = acme.chat.completions.create(model="smollm2", messages=user("Say hello."), max_tokens=3)
    check_accounted("after the hang-up", after._request_id, after.usage)


main()
