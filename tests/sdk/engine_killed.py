"""The engine is killed in mid-stream: an explicit error, a new engine, the next call works."""

import openai
from chapter import audit_record, call_of_stream, check, check_accounted, check_all_pages_free, client, hear, tell
from chapter import usage_row, user

ASK = {"model": "smollm2", "messages": user("Tell a long story about a river."), "temperature": 0}


def main():
    acme = client()
    stream = acme.chat.completions.create(**ASK, max_tokens=1500, stream=True)
    call, seen, error, end = call_of_stream(stream), 0, None, None
    try:
        for chunk in stream:
            seen += sum(1 for choice in chunk.choices if choice.delta.content)
            end = next((c.finish_reason for c in chunk.choices if c.finish_reason), end)
            if seen == 3:
                tell("third chunk")
    except openai.APIError as raised:
        error = raised
    check("an explicit error", type(error) is openai.APIError, error, seen, end)
    check("its code", error.code == "upstream_disconnected", error.body)
    check("no false end", end is None and seen >= 3, end, seen)
    # Nobody waited for the engine yet: the SDK's own retries bridge the restart.
    answer = acme.with_options(max_retries=10).chat.completions.create(**ASK, max_tokens=8)
    check("the next call works", answer.usage.completion_tokens == 8, answer)
    # The gateway may have knocked at the old engine's socket first: that attempt costs nothing.
    check_accounted("the next call", answer._request_id, answer.usage, attempts=(1, 2, 3))
    tell("answered")
    hear()
    row, record = usage_row(call), audit_record(call)
    check("outcome", record["outcome"] == "stream_broken", record)
    check("what was made is charged", row["output_tokens"] >= 3 and row["cost_nano"] > 0, row)
    check("counted, not estimated", row["estimated"] == 0, row)
    check_all_pages_free("no page is held")


main()
