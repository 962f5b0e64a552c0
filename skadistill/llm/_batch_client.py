"""The batches of an OpenAI-compatible endpoint, and those of Anthropic."""

import asyncio
import inspect
import json

from skadistill.exceptions import TeacherError
from skadistill.llm._anthropic import as_line, as_request, as_state
from skadistill.llm._clients import (
    AnthropicAddress,
    open_address,
    speaks_anthropic,
    without_retries,
)
from skadistill.teachers._async import running_loop

__all__ = ["open_batches"]

_NAME = "rows.jsonl"
#: Batches among which one is looked for whose start was not confirmed.
_LATEST = 20


def open_batches(client, api_key_env, timeout):
    """Return an object that submits batches and reads them."""
    if speaks_anthropic(client):
        if isinstance(client, str):
            return _AnthropicBatches(AnthropicAddress(client, api_key_env, timeout))
        return _AnthropicClient(without_retries(client))
    if isinstance(client, str):
        return _AddressBatches(open_address(client, api_key_env, timeout))
    if hasattr(client, "files") and hasattr(client, "batches"):
        return _ClientBatches(without_retries(client))
    raise TeacherError(
        f"client is an object of type {type(client).__name__}, which has no batches; "
        "pass a client of the openai or anthropic package, the base URL of an "
        "endpoint, or a pair of functions."
    )


class _ClientBatches:
    """Use a client of the openai package."""

    most_samples: int | None = None

    def __init__(self, client):
        self.client = client

    def upload(self, lines):
        """Upload the requests; return the name of the file."""
        file = (_NAME, _as_bytes(lines))
        return _awaited(self.client.files.create(file=file, purpose="batch")).id

    def create(self, file, window, metadata):
        """Start a batch; return its name."""
        batch = self.client.batches.create(
            input_file_id=file,
            endpoint="/v1/chat/completions",
            completion_window=window,
            metadata=metadata,
        )
        return _awaited(batch).id

    def latest(self):
        """List the batches that were started last, as dicts."""
        page = _awaited(self.client.batches.list(limit=_LATEST))
        return [batch.model_dump() for batch in page.data]

    def retrieve(self, job):
        """Return the state of a batch as a dict."""
        return _awaited(self.client.batches.retrieve(job)).model_dump()

    def read(self, file):
        """Return the lines of a file."""
        return _as_lines(_awaited(self.client.files.content(file)).text)


class _AddressBatches:
    """Post to an address."""

    most_samples: int | None = None

    def __init__(self, address):
        self.address = address

    def upload(self, lines):
        """Upload the requests; return the name of the file."""
        file = {"file": (_NAME, _as_bytes(lines), "application/jsonl")}
        reply = self.address.request(
            "POST", "/files", files=file, data={"purpose": "batch"}
        )
        return reply.json()["id"]

    def create(self, file, window, metadata):
        """Start a batch; return its name."""
        body = {
            "input_file_id": file,
            "endpoint": "/v1/chat/completions",
            "completion_window": window,
            "metadata": metadata,
        }
        return self.address.request("POST", "/batches", json=body).json()["id"]

    def latest(self):
        """List the batches that were started last, as dicts."""
        return self.address.request("GET", f"/batches?limit={_LATEST}").json()["data"]

    def retrieve(self, job):
        """Return the state of a batch as a dict."""
        return self.address.request("GET", f"/batches/{job}").json()

    def read(self, file):
        """Return the lines of a file."""
        return _as_lines(self.address.request("GET", f"/files/{file}/content").text)


class _AnthropicBatches:
    """Speak Anthropic's protocol for batches, which has no files."""

    most_samples = 1  # replies to a request

    def __init__(self, address):
        self.address = address

    def upload(self, lines):
        """Write the requests; they go with the start."""
        return list(map(as_request, lines))

    def create(self, requests, window, metadata):
        """Start a batch, which always has a day; return its name."""
        return self._post({"requests": requests})["id"]

    def latest(self):
        """List nothing: a batch does not say who has started it."""
        return []

    def retrieve(self, job):
        """Return the state of a batch as a dict."""
        return as_state(self._get(f"/messages/batches/{job}").json())

    def read(self, job):
        """Return the results of a batch as lines of OpenAI's file."""
        results = self._get(f"/messages/batches/{job}/results").text
        return list(map(as_line, _as_lines(results)))

    def _post(self, body):
        return self.address.request("POST", "/messages/batches", json=body).json()

    def _get(self, path):
        return self.address.request("GET", path)


class _AnthropicClient(_AnthropicBatches):
    """Use a client of the anthropic package."""

    def __init__(self, client):
        self.batches = client.messages.batches

    def retrieve(self, job):
        """Return the state of a batch as a dict."""
        return as_state(_awaited(self.batches.retrieve(job)).model_dump())

    def read(self, job):
        """Return the results of a batch as lines of OpenAI's file."""
        results = _awaited(self.batches.results(job))
        if hasattr(results, "__aiter__"):
            results = _awaited(_listed(results))
        return [as_line(result.model_dump()) for result in results]

    def _post(self, body):
        return _awaited(self.batches.create(**body)).model_dump()


async def _listed(results):
    return [result async for result in results]


def _awaited(result):
    """Return what a client returns, now or later."""
    if not inspect.isawaitable(result):
        return result

    async def awaited():
        return await result

    return asyncio.run_coroutine_threadsafe(awaited(), running_loop()).result()


def _as_bytes(lines):
    return "\n".join(map(json.dumps, lines)).encode()


def _as_lines(text):
    # Not splitlines: texts may hold other line breaks than "\n".
    return [json.loads(line) for line in text.split("\n") if line.strip()]
