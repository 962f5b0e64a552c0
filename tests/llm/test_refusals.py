"""What servers say when they refuse a request, and what is made of it."""

import pytest

from skadistill.llm._refusals import (
    changed_body,
    may_concern_row,
    no_label_of,
    variants,
)

BODY = {
    "model": "m",
    "temperature": 0.0,
    "max_tokens": 64,
    "logprobs": True,
    "top_logprobs": 20,
    "n": 5,
    "response_format": {},
}


class Refusal(Exception):
    """Look like the error of a client; the body as the server sends it."""

    def __init__(self, message, status=400, **body):
        super().__init__(message)
        self.status_code = status
        self.body = {"message": message} | body


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refusal("Please reduce the length of the messages."), "too long"),
        (Refusal("prompt is too long: 210094 tokens > 200000 maximum"), "too long"),
        (
            Refusal("the request exceeds the available context size (4096 tokens)"),
            "too long",
        ),
        (
            Refusal(
                "'max_tokens' or 'max_completion_tokens' is too large: 64. This "
                "model's maximum context length is 4096 tokens and your request has "
                "5000 input tokens"
            ),
            "too long",
        ),
        (
            Refusal(
                "Request too large for model `x` in organization `org_1` on tokens per "
                "minute (TPM): Limit 6000, Requested 7057",
                413,
                code="rate_limit_exceeded",
            ),
            "too long",
        ),
        (Refusal("Trying to keep the first 5000 tokens: context length 4096"), "too"),
        (Refusal("context size exceeded", 500), "too long"),
        (Refusal("whatever", 413), "too long"),
        (Refusal("no", code="content_filter"), "filtered"),
        (Refusal("no", code="data_inspection_failed"), "filtered"),
        (Refusal('Your input was flagged for "harassment".', 403), "filtered"),
        (Refusal("Blocked by our safety system"), "filtered"),
        (
            Refusal("no", innererror={"code": "ResponsibleAIPolicyViolation"}),
            "filtered",
        ),
    ],
)
def test_a_row_that_a_server_does_not_take(error, reason):
    """Too long or unwanted, in the words of many servers: it has no label."""
    assert no_label_of(error).reason.startswith(reason)


@pytest.mark.parametrize(
    "error",
    [
        Refusal("API key not valid. Please pass a valid API key."),
        Refusal("Your account was suspended for violations of our usage policy", 403),
        Refusal("Access denied, please make sure your account is in good standing."),
        Refusal("You must be a member of an organization", 401),
        Refusal("Your credit balance is too low to access the API"),
        Refusal("The model `small` does not exist", 404),
        Refusal("User location is not supported for the API use."),
        Refusal("max_tokens (64) exceeds the maximum allowed (32)"),
        Refusal("slow down, too many tokens", 429),
        Refusal("unsafe upstream", 500),
        ValueError("the prompt is too long"),
    ],
)
def test_what_concerns_all_rows_is_not_blamed_on_one(error):
    """An account, a model, a field, a server: none of them is a row without a label."""
    assert no_label_of(error) is None


def test_refusals_for_unknown_reasons_may_concern_the_row():
    """If nothing says that they concern the account."""
    assert may_concern_row(Refusal("Bad luck", 400))
    assert may_concern_row(Refusal("Unprocessable", 422))
    assert not may_concern_row(Refusal("Invalid API key", 400))
    assert not may_concern_row(Refusal("Bad luck", 404))


def without(*names, **values):
    return {k: v for k, v in BODY.items() if k not in names} | values


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        (
            Refusal(
                "'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            ),
            without("max_tokens", max_completion_tokens=64),
        ),
        (
            Refusal("Unsupported value", param="temperature"),
            without("temperature"),
        ),
        (
            Refusal("Requested sample logprobs of 20, which is greater than max: 5"),
            without(top_logprobs=5),
        ),
        (Refusal("top_logprobs: must be between 0 and 8"), without(top_logprobs=8)),
        (
            Refusal("logprobs is not supported by llama-3.1-8b-instant"),
            without("logprobs", "top_logprobs"),
        ),
        (
            Refusal("This model does not support log probabilities"),
            without("logprobs", "top_logprobs"),
        ),
        (Refusal("'n' is not supported; number must be 1"), without("n")),
        (Refusal("n must be at most 3"), without(n=3)),
        (Refusal("max_tokens: 64 exceeds the maximum of 32"), without(max_tokens=32)),
        (Refusal("json_schema is not available"), without("response_format")),
        (
            Refusal('[{"type": "extra_forbidden", "loc": ["body", "logprobs"]}]', 422),
            without("logprobs", "top_logprobs"),
        ),
    ],
)
def test_a_field_that_a_server_does_not_take(error, changed):
    """Is left out or made less, and no other: "n" is not meant wherever an n stands."""
    assert changed_body(error, BODY) == changed


@pytest.mark.parametrize(
    "error",
    [
        Refusal("The model does not exist", 404),
        Refusal("Invalid prompt"),
        Refusal("temperature is not supported", 429),
        Refusal("'seed' is not supported"),
        Refusal("There is no such thing\nas a free lunch: unsupported"),
    ],
)
def test_a_refusal_that_names_no_field_changes_none(error):
    """Nor one of another status, nor one that names a field that was not sent."""
    assert changed_body(error, BODY) is None


def test_refusals_end():
    """Whatever is refused again and again, a request loses fields or is given up."""
    body, n_changes = BODY, 0
    while body is not None:
        before = body
        for name in (*BODY, "max_completion_tokens"):
            changed = changed_body(Refusal(f"unsupported '{name}': 20, 15, 9, 1"), body)
            body = changed or body
        n_changes += 1
        if body == before:
            break
    assert body == {"model": "m", "max_completion_tokens": 1} or "max_tokens" in body
    assert n_changes < 12


def test_variants_lack_one_field_each_and_then_all():
    """The limit of a reply, which is a price, is only renamed."""
    *single, bare = variants(BODY)
    assert len(single) == 5
    assert bare == {"model": "m", "max_completion_tokens": 64}
    for variant in single:
        assert "max_tokens" in variant or "max_completion_tokens" in variant
