"""What a refused request was refused for: the row, a field, or everything."""

import json
import re

from skadistill.teachers._answers import NoLabel
from skadistill.teachers._retries import error_object, status_of

__all__ = [
    "changed_body",
    "may_concern_row",
    "no_label_of",
    "refuses_system_role",
    "variants",
]

#: Fields that a request can do without, and by which words servers name them.
_FIELDS = {
    "top_logprobs": r"top_logprobs",
    "logprobs": r"(?:sample |top )?logprobs?|log[- ]?probabilit(?:y|ies)",
    "response_format": r"response_format|json_schema|structured outputs?|guided_\w+",
    "temperature": r"temperature",
    "n": r"n",
    "seed": r"seed",
    "max_tokens": r"max_tokens",
    "max_completion_tokens": r"max_completion_tokens",
}
#: What is said of a field that is not taken, or not with this value.
_COMPLAINT = re.compile(
    r"support|unknown|unrecogni[sz]ed|not (?:permitted|allowed|available|implemented)"
    r"|extra|unexpected|invalid|allowed|maximum|exceed|greater|less than|at most|range"
    r"|between|must (?:be|not)|should be|only|enabled|too (?:large|high|big)"
)
#: How servers call a row that is too long for the model: OpenAI, vLLM, llama.cpp,
#: Anthropic, Gemini, TGI, xAI, Groq, Mistral, LM Studio.
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size|limit)|exceed_context"
    r"|(?:prompt|input|request|message|string|text|content)s?\S* (?:\([^)]*\) )?"
    r"(?:is |was |are )?too (?:long|large)|too many (?:input )?tokens"
    r"|maximum (?:model |prompt |input |context )+length|(?:model|prompt|input) length"
    r"|input token count|`?inputs`? (?:tokens?|must have)|request_too_large"
    r"|above_max_length|(?:tokens?|length) [^.]*exceed"
    r"|exceed[^.]* (?:tokens?|length|context)|greater than the context"
    r"|reduce (?:the|your) (?:length|prompt|input)"
)
#: The same, whatever it says of the account.
_REQUEST_TOO_LARGE = re.compile(r"request too large|reduce your message size")
#: What is not about `max_tokens` alone.
_ABOUT_INPUT = re.compile(r"context|prompt|input|message")
#: How they call one that they do not want to read.
_UNWANTED = re.compile(
    r"content[ _-]?(?:filter|polic|management|exists risk|moderat)|moderat|flagged"
    r"|inappropriate|data_?inspection|unsafe|harmful|harassment|sensitive (?:content"
    r"|word|information)|prohibited|usage polic|violat|responsible ?ai|guardrail"
    r"|invalid_prompt|safety|risk control|blocked by|block_?reason"
)
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt|instruction)|developer instruction|roles must "
    r"alternate|only user and assistant roles"
)
#: What concerns the account, and so every row.
_ACCOUNT = re.compile(
    r"api[ _-]?key|credential|authenti|authori[sz]|permission|account|billing|quota"
    r"|credit|balance|arrear|subscription|organi[sz]ation|verified|region|country"
    r"|location is not supported|terms of service"
)


def no_label_of(error):
    """Return the reason for a missing label if a refusal is the row's; else None."""
    status, text = status_of(error), _said(error)
    if _REQUEST_TOO_LARGE.search(text):
        return NoLabel("too long for the limits of the account")
    if status is None or status in (401, 402, 404, 429) or _ACCOUNT.search(text):
        return None
    if status < 500 and _UNWANTED.search(text):
        return NoLabel("filtered")
    is_of_field = _names(text, "max_tokens") and not _ABOUT_INPUT.search(text)
    if status == 413 or (_TOO_LONG.search(text) and not is_of_field):
        return NoLabel("too long for the model")
    return None


def refuses_system_role(error):
    """Tell whether a model has no place for a message of the system.

    So say the templates of Gemma 2 and Mistral behind vLLM (vllm-project/vllm#2964,
    microsoft/autogen#1037) and Gemma 3 at Google (google/adk-python#3900).
    """
    is_refusal = status_of(error) in (400, 404, 422, 500)
    return is_refusal and _NO_SYSTEM.search(_said(error)) is not None


def may_concern_row(error):
    """Tell whether a refusal for no known reason may be due to the row alone."""
    return status_of(error) in (400, 413, 422) and not _ACCOUNT.search(_said(error))


def changed_body(error, body):
    """Return a request without, or with less of, the field that a refusal names.

    None if it names no field that could be left out.
    """
    if status_of(error) not in (400, 404, 422):
        return None
    body_of_error = error_object(_body_of(error))
    text, param = _said(error), str(body_of_error.get("param"))
    said = str(body_of_error.get("message")).casefold()
    if not _COMPLAINT.search(text):
        return None
    named = [name for name in _FIELDS if name in body and name == param]
    named = named or [name for name in _FIELDS if name in body and _names(text, name)]
    if not named:
        return None
    name = named[0]
    # "Requested sample logprobs of 20, which is greater than max allowed: 5".
    is_limit = _highest(said, body.get("top_logprobs")) is not None
    if name == "logprobs" and is_limit:
        name = "top_logprobs"
    if name == "max_tokens" and "max_completion_tokens" in said:
        return _without(body, name)
    return _without(body, name, _highest(said, body[name]))


def variants(body):
    """Yield requests without one optional field each, then one without any.

    For a refusal that names none, before any request was accepted: refusals cost
    nothing.
    """
    kept = ("top_logprobs", "max_completion_tokens")  # one goes with logprobs
    names = [name for name in _FIELDS if name in body and name not in kept]
    bare = body
    for name in names:
        yield _without(body, name)
        bare = _without(bare, name)
    if len(names) > 1:
        yield bare


def _without(body, name, highest=None):
    """Return a copy of a request without a field, or with the highest value allowed."""
    body = dict(body)
    value = body[name]
    if highest is not None and not (name == "n" and highest == 1):
        return body | {name: highest}
    if name == "max_completion_tokens":  # never without a limit, which is a price
        return None
    del body[name]
    if name == "max_tokens":
        body["max_completion_tokens"] = value
    elif name == "top_logprobs":
        if value > 5:
            body["top_logprobs"] = 5
        else:
            del body["logprobs"]
    elif name == "logprobs":
        body.pop("top_logprobs", None)
    return body


def _highest(text, value):
    """Return the highest number in a refusal that is less than the value refused."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 1:
        return None
    found = [int(n) for n in re.findall(r"(?<![\w.-])\d+(?![\w]|\.\d)", text)]
    return max((n for n in found if 0 < n < value), default=None)


def _names(text, name):
    """Tell whether a text names a field as a word of its own."""
    # Quotes around "n" are asked for: the letter stands in other places, too.
    pattern = r"['\"`]n['\"`]|\bn ?(?:[=><]|must|should|is)" if name == "n" else None
    pattern = pattern or rf"(?<![\w-])(?:{_FIELDS[name]})(?![\w-])"
    return re.search(pattern, text) is not None


def _body_of(error):
    body = getattr(error, "body", None)
    return body if body is not None else {"message": str(error)}


def _said(error):
    """Return what a server says of an error, with its codes, in lower case."""
    body = error_object(_body_of(error))
    shown = [body.get(n) for n in ("message", "code", "type", "status", "innererror")]
    shown += [body.get("metadata"), body.get("param")]
    return " ".join(
        part if isinstance(part, str) else json.dumps(part, default=str)
        for part in shown
        if part is not None
    ).casefold()
