"""Faults that pass are tried again, by status, by class name and by cause."""

import contextlib
import json
import socket
import ssl
import threading
import time
from email.utils import formatdate

import pytest

from skadistill.exceptions import TeacherCallError
from skadistill.teachers import AsyncTeacher, Limits
from skadistill.teachers._retries import (
    LONGEST_WAIT,
    is_retryable,
    may_be_billed,
    retry_after,
    status_of,
)

CLASSES = ["neg", "pos"]


class ClientError(Exception):
    """Look like the errors of httpx, requests, openai and others."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def caused_by(cause):
    error = RuntimeError("the client's own")
    error.__cause__ = cause
    return error


class Response:
    def __init__(self, status_code, headers=()):
        self.status_code, self.headers = status_code, dict(headers)


def named(package, name, base=Exception):
    """Return an error that looks like one of a package, without importing it."""
    return type(name, (base,), {"__module__": f"{package}._exceptions"})("gone")


def cyclic():
    error = KeyError("label")
    error.__cause__ = error
    return error


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (ssl.SSLEOFError(), True),
        (json.JSONDecodeError("", "", 0), True),
        (caused_by(ConnectionRefusedError()), True),
        (caused_by(caused_by(TimeoutError())), True),
        (ClientError(status_code=429), True),
        (ClientError(status=503), True),
        (ClientError(status_code=409), True),
        (ClientError(status_code=520), True),
        (ClientError(status_code=524), True),
        (ClientError(response=Response(529)), True),
        (caused_by(ClientError(status_code=503)), True),
        (ClientError(response=Response(404)), False),
        (ClientError(status_code=400, __cause__=TimeoutError()), False),
        (ClientError(status_code=525), False),
        (ValueError("bad"), False),
        (caused_by(ValueError("bad")), False),
        (caused_by(ssl.SSLCertVerificationError()), False),
        (FileNotFoundError(), False),
        (ClientError(code="rate_limit"), False),
        (ClientError(type="overloaded_error", status_code=200), True),
        (cyclic(), False),
        (named("httpx", "ReadError", type(named("httpx", "NetworkError"))), True),
        (named("aiohttp", "ClientPayloadError"), True),
        (named("aiohttp", "ContentTypeError"), True),
        (named("requests", "ConnectionError"), True),
        (named("mine", "NetworkError"), False),
        (caused_by(named("httpcore", "RemoteProtocolError")), True),
        (RuntimeError("Event loop is closed"), True),
        (RuntimeError("bad"), False),
    ],
)
def test_which_faults_pass(error, retryable):
    """By the status if there is one, else by the class of the error or its causes."""
    assert is_retryable(error) is retryable


@pytest.mark.parametrize(
    "error",
    [
        ClientError(status_code=402),
        ClientError(status_code=429, body={"code": "insufficient_quota"}),
        ClientError(status_code=429, body={"error": {"type": "insufficient_quota"}}),
        ClientError(
            status_code=403, body={"message": "Your credit balance is too low"}
        ),
        caused_by(ClientError(status_code=429, body={"code": "billing_not_active"})),
    ],
)
def test_an_empty_account_is_not_asked_again(error):
    """Another try cannot succeed before somebody pays."""
    assert not is_retryable(error)
    assert not may_be_billed(error)


def in_the_body(text):
    """Return an error whose response holds a body that was read, as httpx has it."""
    response = Response(429)
    response._content = json.dumps({"error": {"code": text}}).encode()
    return ClientError(response=response)


def test_the_body_of_a_response_is_read():
    """What the client's error leaves out."""
    assert is_retryable(in_the_body("rate_limit_exceeded"))
    assert not is_retryable(in_the_body("insufficient_quota"))


def aws(status, code):
    """Return an error as botocore raises it."""
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "7"}}
    return ClientError(response={"Error": {"Code": code}, "ResponseMetadata": metadata})


def test_errors_of_aws():
    """Throttling comes under the status 400, too."""
    assert is_retryable(aws(400, "ThrottlingException"))
    assert is_retryable(aws(503, "Whatever"))
    assert not is_retryable(aws(400, "ValidationException"))
    assert status_of(aws(400, "ThrottlingException")) == 400
    assert retry_after(aws(429, "ThrottlingException")) == 7.0


def test_what_may_be_billed():
    """A refusal costs nothing; what broke on the way may be on the bill."""
    assert not may_be_billed(ClientError(status_code=429))
    assert may_be_billed(TimeoutError())
    assert may_be_billed(ClientError(status_code=200))
    assert not may_be_billed(RuntimeError("Event loop is closed"))


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "2.5"}, 2.5),
        (503, {"retry-after": "20"}, 20.0),
        (429, {"Retry-After": formatdate(NOW + 30, usegmt=True)}, 30.0),
        (429, {"Retry-After": formatdate(NOW - 30, usegmt=True)}, 0.0),
        (429, {"Retry-After": "86400"}, LONGEST_WAIT),
        (429, {"Retry-After": "Wed, 21 Oct"}, 0.0),
        (429, {"Retry-After": "nan"}, 0.0),
        (429, {"Retry-After": "-3"}, 0.0),
        (429, {"retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        (429, {"x-ratelimit-reset-requests": "1m2s"}, 62.0),
        (429, {"x-ratelimit-reset-tokens": "350ms"}, 0.35),
        (429, {"x-ratelimit-reset": f"{NOW + 9:.0f}"}, 9.0),
        (429, {"X-RateLimit-Reset": "12"}, 12.0),
        (429, {"X-RateLimit-Reset": f"{1000 * NOW + 7000:.0f}"}, 7.0),
        (429, {"Retry-After": "1500ms"}, 1.5),
        (
            429,
            {
                "x-ratelimit-remaining-requests": "3",
                "x-ratelimit-reset-requests": "200s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "4s",
            },
            4.0,
        ),
        (429, {"anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:05Z"}, 5.0),
        (500, {"x-ratelimit-reset-requests": "1m2s"}, 0.0),
        (429, {}, 0.0),
    ],
)
def test_how_long_a_server_asks_to_wait(status, headers, wait, monkeypatch):
    """Seconds, dates, milliseconds and the ends of rate limits, up to a ceiling."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    for error in (
        ClientError(status_code=status, headers=headers),
        ClientError(response=Response(status, headers)),
        caused_by(ClientError(response=Response(status, headers))),
    ):
        assert retry_after(error) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        # https://openrouter.ai/docs/api/reference/limits: no Retry-After before 2026.
        (
            {
                "metadata": {
                    "headers": {"X-RateLimit-Reset": f"{1000 * NOW + 9000:.0f}"}
                }
            },
            9.0,
        ),
        # https://ai.google.dev/gemini-api/docs/rate-limits, google.rpc.RetryInfo
        (
            [
                {
                    "error": {
                        "code": 429,
                        "message": "You exceeded your current quota.",
                        "details": [{"@type": "QuotaFailure"}, {"retryDelay": "34.5s"}],
                    }
                }
            ],
            34.5,
        ),
        ({"error": {"message": "Rate limit. Please try again in 1.2s. Visit"}}, 1.2),
        ({"error": {"message": "Please try again in 6m0s."}}, LONGEST_WAIT),
        ({"error": {"message": "Please try again in 20ms."}}, 0.02),
        ({"message": "Please retry after 26 seconds."}, 26.0),
        ({"message": "Please retry in 1 minute 5 seconds"}, 65.0),
        ({"message": "Please try again in a moment"}, 0.0),
        ({"error": "try again in 3s"}, 3.0),
        ({"details": "nothing", "metadata": None}, 0.0),
        ({"details": [{"retryDelay": "soon"}, "x"]}, 0.0),
    ],
)
def test_waits_that_the_body_asks_for(body, wait, monkeypatch):
    """OpenRouter, Gemini, OpenAI and Azure say them there, also through a client."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    response = Response(429)
    response._content = json.dumps(body).encode()
    for error in (
        ClientError(status_code=429, body=body),
        ClientError(response=response),
    ):
        assert retry_after(error) == pytest.approx(wait)


def test_a_limit_of_what_is_in_flight_passes():
    """A 402 that says when to come back is no empty account."""
    assert is_retryable(ClientError(status_code=402, headers={"Retry-After": "2"}))
    assert not is_retryable(ClientError(status_code=402, headers={}))


def test_a_redirect_that_was_not_followed_costs_nothing():
    """And will be there the next time."""
    error = ClientError(status_code=307)
    assert not may_be_billed(error)
    assert not is_retryable(error)


def test_an_error_without_headers_asks_for_nothing():
    """Whatever else it is."""
    assert retry_after(ClientError(headers=None)) == retry_after(ValueError()) == 0.0
    assert status_of(ClientError(status_code=True)) is None


# -------------------------------------------------------- the clients people use


CHAT = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "pos"},
        }
    ],
}
MESSAGE = {
    "id": "x",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "pos"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def response(status, body, extra=""):
    payload = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} What\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(payload)}\r\n{extra}\r\n"
    )
    return head.encode() + payload


class BareServer:
    """Misbehave on the wire, one way per request, then answer."""

    def __init__(self, faults):
        self.faults, self.n_requests = list(faults), 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            with contextlib.suppress(ConnectionError):
                try:
                    connection, _ = self.socket.accept()
                except OSError:
                    return
                with connection:
                    self.respond(connection)

    def respond(self, connection):
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65536)
            if not piece:
                return
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line.partition(b":")[2]):
                    body += connection.recv(65536)
        self.n_requests += 1
        fault = self.faults.pop(0) if self.faults else "answer"
        good = response(200, MESSAGE if b"/messages" in head else CHAT)
        if fault == "answer":
            connection.sendall(good)
        elif fault == "half":
            connection.sendall(good[: len(good) - 40])
        elif fault == "quota":
            code = {"code": "insufficient_quota", "type": "insufficient_quota"}
            connection.sendall(response(429, {"error": {"message": "pay"} | code}))
        elif fault != "drop":
            connection.sendall(response(fault, {"error": {"message": "no"}}))

    def close(self):
        self.socket.close()


def with_httpx(url):
    httpx = pytest.importorskip("httpx")

    async def ask(texts):
        async with httpx.AsyncClient() as client:
            reply = await client.post(f"{url}/chat", json={"messages": texts})
            return [reply.raise_for_status().json()["choices"][0]["message"]["content"]]

    return ask


def with_openai(url):
    openai = pytest.importorskip("openai")

    async def ask(texts):
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as c:
            messages = [{"role": "user", "content": texts[0]}]
            reply = await c.chat.completions.create(model="m", messages=messages)
            return [reply.choices[0].message.content]

    return ask


def with_anthropic(url):
    anthropic = pytest.importorskip("anthropic")

    async def ask(texts):
        async with anthropic.AsyncAnthropic(
            base_url=url, api_key="k", max_retries=0
        ) as client:
            reply = await client.messages.create(
                model="m",
                max_tokens=9,
                messages=[{"role": "user", "content": texts[0]}],
            )
            return [reply.content[0].text]

    return ask


def with_aiohttp(url):
    aiohttp = pytest.importorskip("aiohttp")

    async def ask(texts):
        async with (
            aiohttp.ClientSession(raise_for_status=True) as client,
            client.post(f"{url}/chat", json={"messages": texts}) as reply,
        ):
            return [(await reply.json())["choices"][0]["message"]["content"]]

    return ask


def with_requests(url):
    requests = pytest.importorskip("requests")

    def ask(texts):
        reply = requests.post(f"{url}/chat", json={"messages": texts}, timeout=9)
        reply.raise_for_status()
        return [reply.json()["choices"][0]["message"]["content"]]

    return ask


def with_botocore(url):
    session = pytest.importorskip("botocore.session").Session()
    config = pytest.importorskip("botocore.config").Config(retries={"max_attempts": 0})

    def ask(texts):
        client = session.create_client(
            "bedrock-runtime",
            region_name="eu-west-1",
            endpoint_url=url,
            aws_access_key_id="k",
            aws_secret_access_key="s",
            config=config,
        )
        reply = client.invoke_model(modelId="m", body=json.dumps(texts))
        body = json.loads(reply["body"].read())
        return [body["choices"][0]["message"]["content"]]

    return ask


CLIENTS = [
    with_httpx,
    with_openai,
    with_anthropic,
    with_aiohttp,
    with_requests,
    with_botocore,
]


@pytest.fixture(params=CLIENTS)
def teacher_behind(request):
    """Return a function from faults of a server to a teacher and the server."""
    servers = []

    def make(*faults):
        servers.append(BareServer(faults))
        ask = request.param(servers[-1].url)
        options = {"name": "m", "limits": Limits(backoff=0.01, max_tries=4)}
        return AsyncTeacher(ask, classes=CLASSES, **options), servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.mark.parametrize("fault", ["drop", "half", 409, 429, 500, 522, 529])
def test_faults_on_the_wire_are_tried_again(teacher_behind, fault):
    """Two faults, then the answer, with each of the clients."""
    teacher, server = teacher_behind(fault, fault)
    assert teacher.ask(["x"], CLASSES).tolist() == [[0.0, 1.0]]
    assert server.n_requests == 3


@pytest.mark.parametrize("fault", [400, 401, 402, 404, "quota"])
def test_lasting_refusals_are_not_tried_again(teacher_behind, fault):
    """One request, and the client's error is the cause."""
    teacher, server = teacher_behind(*[fault] * 4)
    with pytest.raises(TeacherCallError) as caught:
        teacher.ask(["x"], CLASSES)
    assert status_of(caught.value.__cause__) == (429 if fault == "quota" else fault)
    # The errors of two clients do not hold the body, which says that nothing is left.
    package = type(caught.value.__cause__).__module__.partition(".")[0]
    unknown = fault == "quota" and package in ("aiohttp", "botocore")
    assert server.n_requests == (4 if unknown else 1)
