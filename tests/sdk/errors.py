"""Every class of error as the SDK's own exception, with the body's code and the call's id."""

import time

import openai
from chapter import audit_record, check, client, key_of, raised, user

ASK = {"model": "smollm2", "messages": user("Say hello."), "max_tokens": 4}


def main():
    acme, globex = client(), client("globex")
    callers(acme, globex)
    requests(acme)
    limits(globex)


def refused(name, kind, status, code, call, param=None):
    """The call ends with this exception, which has a body, and the audit log knows why."""
    error = raised(kind, call)
    check(f"{name}: status", error.status_code == status, error)
    check(f"{name}: code", error.code == code, error.body)
    check(f"{name}: param", error.param == param, error.body)
    check(f"{name}: message", bool(error.body["message"]) and bool(error.body["type"]), error.body)
    record = audit_record(error.request_id)
    check(f"{name}: recorded", record["status"] == status, record)
    return error


def chat(caller, **more):
    return lambda: caller.chat.completions.create(**{**ASK, **more})


def callers(acme, globex):
    key = key_of("acme")
    # The last character belongs to the checksum, so this key could never have been one.
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    for name, wrong in (("mistyped key", mistyped), ("foreign key", "sk-abcdef0123456789")):
        stranger = client(api_key=wrong)
        error = refused(name, openai.AuthenticationError, 401, "invalid_api_key", chat(stranger))
        check(f"{name}: nothing of it is told", wrong not in str(error.body), error.body)
    refused("no key", openai.AuthenticationError, 401, "missing_api_key",
            chat(acme, extra_headers={"Authorization": openai.Omit()}))
    denied = refused("a model of others", openai.PermissionDeniedError, 403, "policy_denied",
                     chat(globex, model="assistant"))
    check("a model of others: the rule's name", "tenant_models" in denied.message, denied.message)
    check("a model of others: on record", audit_record(denied.request_id)["rule"] == "tenant_models")
    raised(openai.PermissionDeniedError, chat(globex, model="assistant", stream=True))
    refused("a model of others, looked up", openai.NotFoundError, 404, "model_not_found",
            lambda: globex.models.retrieve("assistant"), "model")


def requests(acme):
    refused("unknown model", openai.NotFoundError, 404, "model_not_found", chat(acme, model="gpt-none"), "model")
    refused("no such endpoint", openai.NotFoundError, 404, "unknown_endpoint",
            lambda: acme.moderations.create(model="smollm2", input="x"))
    refused("not at this endpoint", openai.NotFoundError, 404, "endpoint_not_served",
            lambda: acme.embeddings.create(model="smollm2", input="x", encoding_format="float"), "model")
    refused("two caps", openai.BadRequestError, 400, "conflicting_parameters",
            chat(acme, max_tokens=4, max_completion_tokens=5), "max_completion_tokens")
    refused("a cap below one", openai.BadRequestError, 400, "invalid_parameter", chat(acme, max_tokens=0), "max_tokens")
    refused("a cap of text", openai.BadRequestError, 400, "invalid_parameter",
            chat(acme, extra_body={"max_tokens": "many"}), "max_tokens")
    refused("no messages", openai.BadRequestError, 400, "missing_parameter",
            chat(acme, messages=openai.omit), "messages")
    refused("n of zero", openai.BadRequestError, 400, "invalid_parameter", chat(acme, n=0), "n")
    for name, value in (("temperature", 9), ("top_p", -1), ("top_logprobs", 99)):
        more = {name: value, **({"logprobs": True} if name == "top_logprobs" else {})}
        error = raised(openai.BadRequestError, chat(acme, **more))
        check(f"{name} out of range: param", error.param == name, error.body)


def limits(globex):
    """Twenty requests a minute: the next one is told how long to wait, and that is true."""
    wait = None
    for _ in range(25):
        try:
            globex.models.list()
        except openai.RateLimitError as error:
            headers = error.response.headers
            wait = float(headers["retry-after-ms"]) / 1000
            check("limit: status", error.status_code == 429, error)
            check("limit: code", error.code == "request_limit_reached", error.body)
            check("limit: whole seconds, rounded up", 0 < wait <= int(headers["retry-after"]) <= 4, headers)
            check("limit: its size", headers["x-ratelimit-limit-requests"] == "20", headers)
            check("limit: none left", headers["x-ratelimit-remaining-requests"] == "0", headers)
            break
    check("limit: reached", wait is not None)
    # The SDK waits as long as it was told, and not longer.
    start = time.monotonic()
    answer = globex.with_options(max_retries=1).chat.completions.create(**ASK)
    took = time.monotonic() - start
    check("limit: the SDK's one retry succeeds", answer.usage.completion_tokens > 0, answer)
    check("limit: it had to wait", took > wait / 2, took, wait)
    raised(openai.RateLimitError, lambda: globex.models.list())


main()
