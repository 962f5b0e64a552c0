"""The files and batches of an OpenAI-compatible endpoint."""

import asyncio
import inspect
import json

from skadistill.exceptions import TeacherError
from skadistill.llm._clients import open_address, without_retries
from skadistill.teachers._async import running_loop

__all__ = ["open_batches"]

_NAME = "rows.jsonl"
#: Batches among which one is looked for whose start was not confirmed.
_LATEST = 20


def open_batches(client, api_key_env, timeout):
    """Return an object that submits batches and reads them."""
    if isinstance(client, str):
        return _AddressBatches(open_address(client, api_key_env, timeout))
    if hasattr(client, "files") and hasattr(client, "batches"):
        return _ClientBatches(without_retries(client))
    raise TeacherError(
        f"client is an object of type {type(client).__name__}, which has no batches; "
        "pass a client of the openai package, the base URL of an endpoint, or a pair "
        "of functions."
    )


class _ClientBatches:
    """Use a client of the openai package."""

    def __init__(self, client):
        self.client = client

    def upload(self, lines):
        """Upload the requests; return the name of the file."""
        file = (_NAME, _as_bytes(lines))
        return self._wait(self.client.files.create(file=file, purpose="batch")).id

    def create(self, file, window, metadata):
        """Start a batch; return its name."""
        batch = self.client.batches.create(
            input_file_id=file,
            endpoint="/v1/chat/completions",
            completion_window=window,
            metadata=metadata,
        )
        return self._wait(batch).id

    def latest(self):
        """List the batches that were started last, as dicts."""
        page = self._wait(self.client.batches.list(limit=_LATEST))
        return [batch.model_dump() for batch in page.data]

    def retrieve(self, job):
        """Return the state of a batch as a dict."""
        return self._wait(self.client.batches.retrieve(job)).model_dump()

    def read(self, file):
        """Return the lines of a file."""
        return _as_lines(self._wait(self.client.files.content(file)).text)

    def _wait(self, result):
        if not inspect.isawaitable(result):
            return result

        async def awaited():
            return await result

        return asyncio.run_coroutine_threadsafe(awaited(), running_loop()).result()


class _AddressBatches:
    """Post to an address."""

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


def _as_bytes(lines):
    return "\n".join(map(json.dumps, lines)).encode()


def _as_lines(text):
    # Not splitlines: texts may hold other line breaks than "\n".
    return [json.loads(line) for line in text.split("\n") if line.strip()]
