"""Anthropic's own protocol: its messages and batches, in the words of OpenAI's.

https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

__all__ = ["as_chat", "as_line", "as_messages", "as_request", "as_state"]

#: Fields that the protocol does not have, or has under another name.
_NOT_SENT = {
    *("logprobs", "top_logprobs", "n", "response_format", "seed", "messages", "stop"),
    *("max_tokens", "max_completion_tokens"),
}
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
#: https://platform.claude.com/docs/en/api/errors
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def as_messages(body):
    """Write the request of a chat as one for a message."""
    messages = body["messages"]
    sent = {name: value for name, value in body.items() if name not in _NOT_SENT}
    sent["max_tokens"] = body.get("max_tokens") or body.get("max_completion_tokens")
    rules = [m["content"] for m in messages if m["role"] == "system"]
    if rules:
        sent["system"] = "\n\n".join(rules)
    if stop := body.get("stop"):
        sent["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    return sent | {"messages": [m for m in messages if m["role"] != "system"]}


def as_chat(message):
    """Write a message as the reply of a chat."""
    blocks = message.get("content")
    if not isinstance(blocks, list):
        return message
    # Blocks of thoughts are no part of the answer.
    texts = [b.get("text") or "" for b in blocks if b.get("type") == "text"]
    reason = message.get("stop_reason")
    choice = {
        "index": 0,
        "finish_reason": _REASONS.get(str(reason), reason),
        "message": {"role": "assistant", "content": "".join(texts)},
    }
    said = {name: message.get(name) for name in ("id", "model", "usage")}
    return said | {"choices": [choice]}


def as_request(line):
    """Write a line of OpenAI's file as a request of a batch."""
    return {"custom_id": line["custom_id"], "params": as_messages(line["body"])}


def as_state(batch):
    """Write the state of a batch as OpenAI's is."""
    status = batch.get("processing_status")
    counts = batch.get("request_counts") or {}
    return {
        "status": "completed" if status == "ended" else status,
        "request_counts": {"completed": counts.get("succeeded") or 0},
        "output_file_id": batch["id"] if batch.get("results_url") else None,
    }


def as_line(result):
    """Write a result of a batch as a line of OpenAI's file."""
    outcome, line = result["result"], {"custom_id": result["custom_id"]}
    if outcome["type"] == "succeeded":
        response = {"status_code": 200, "body": as_chat(outcome["message"])}
        return line | {"response": response}
    if outcome["type"] != "errored":  # expired or canceled: never sent
        return line | {"error": {"code": outcome["type"]}}
    error = outcome.get("error") or {}
    error = error.get("error") or error
    status = _STATUSES.get(str(error.get("type")), 500)
    return line | {"response": {"status_code": status, "body": {"error": error}}}
