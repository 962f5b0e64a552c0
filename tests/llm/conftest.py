"""A server on this machine that speaks the chat protocol, with realistic faults."""

import contextlib
import json
import math
import threading
import time
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CLASSES = ["ham", "spam"]

#: What chat templates without a system role say, as reported in
#: github.com/vllm-project/vllm/pull/2964, github.com/microsoft/autogen/issues/1037 and
#: github.com/google/adk-python/issues/3900.
WITHOUT_SYSTEM = {
    "gemma behind vllm": {
        "object": "error",
        "message": "System role not supported",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    },
    "mistral": {
        "object": "error",
        "message": "Conversation roles must alternate user/assistant/...",
        "type": "invalid_request_error",
        "code": None,
    },
    "gemma at google": {
        "error": {
            "code": 400,
            "message": "Developer instruction is not enabled for models/gemma-3-12b-it",
            "status": "INVALID_ARGUMENT",
        }
    },
}


class ChatServer:
    """Answer ``/v1/chat/completions`` about messages that hold "spam" or not.

    `faults` maps the number of a request, counted from 1, or a part of the prompt, to
    the name of a fault; each numbered fault happens once.
    """

    prices = (1.0, 2.0)  # per million tokens

    def __init__(self):
        self.faults: dict = {}
        self.latency = 0.0
        self.logprobs = True
        self.listed = False
        self.model, self.fingerprint = "small-2026-11-01", "fp_1"
        self.requests: list = []
        self.files: dict = {}
        self.batches: dict = {}
        self.batch_faults: list = []
        self.drops_after_start = False
        self.looks, self.end_after_looks = 0, None
        self.answered: Counter = Counter()
        self.keys: set = set()
        self.addresses: list = []
        self.bill = 0.0
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"chat": self})
        server = type("Server", (ThreadingHTTPServer,), {"request_queue_size": 128})
        self.http = server(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        serve = self.http.serve_forever
        threading.Thread(target=serve, args=(0.01,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def fault_of(self, number, prompt):
        if number in self.faults:
            return self.faults[number]
        return next(
            (
                f
                for part, f in self.faults.items()
                if isinstance(part, str) and part in prompt
            ),
            None,
        )

    def choice(self, body, prompt, fault):
        """Return the choice about a prompt."""
        p_spam = 0.9 if "spam" in prompt else 0.2
        label = "spam" if p_spam > 0.5 else "ham"
        top = [("spam", p_spam), ("ham", 1 - p_spam)]
        message = {"role": "assistant", "content": label}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        if fault == "refusal":
            message |= {"content": None, "refusal": "I can't help with that."}
            return choice
        if fault == "filter":
            return choice | {
                "finish_reason": "content_filter",
                "message": message | {"content": ""},
            }
        if fault == "cut":
            return choice | {
                "finish_reason": "length",
                "message": message | {"content": "Well, as"},
            }
        if fault == "chatter":
            message["content"] = f"Sure! I would label this as **{label}**."
            top = [("Sure", 0.97), (label, 0.03)]
        if fault == "case":
            message["content"] = f" {label.title()}."
            top = [(f" {t.title()}", p) for t, p in top]
        if fault == "third":
            top = [
                ("spam", p_spam * 0.95),
                ("ham", (1 - p_spam) * 0.95),
                ("eggs", 0.05),
            ]
        if fault == "empty":
            top = []
        if fault == "nonsense":
            message["content"], top = "As a language model, I think", []
        if body.get("logprobs") and self.logprobs:
            entries = [{"token": t, "logprob": math.log(p)} for t, p in top]
            first = {
                "token": message["content"],
                "logprob": -0.1,
                "top_logprobs": entries,
            }
            if top:
                first["token"] = max(top, key=lambda item: item[1])[0]
            choice["logprobs"] = {"content": [first] if top else []}
        return choice

    def finish_later(self, *end):
        """End all batches when somebody looks for the third time from now."""
        self.end, self.end_after_looks = end, self.looks + 3

    def finish(self, status="completed", only=None):
        """End all batches; answer the requests whose prompt holds `only`."""
        for batch in self.batches.values():
            if batch["status"] not in ("in_progress", "validating"):
                continue
            good, bad = [], []
            for line in self.files[batch["input_file_id"]]:
                body = line["body"]
                prompt = body["messages"][-1]["content"]
                if status == "failed":
                    continue
                if only is not None and only not in prompt:
                    error = {"code": "batch_expired", "message": "not in time"}
                    bad.append({"custom_id": line["custom_id"], "error": error})
                    continue
                fault = self.fault_of(None, prompt)
                if fault in ("content_filter", "500"):
                    code = 400 if fault == "content_filter" else 500
                    body = {"error": {"code": fault}}
                    response = {"status_code": code, "body": body}
                    bad.append({"custom_id": line["custom_id"], "response": response})
                    if fault == "500":  # once
                        self.faults = {}
                    continue
                reply = self.completion(body, prompt, fault, price=0.5)
                response = {"status_code": 200, "body": reply}
                good.append({"custom_id": line["custom_id"], "response": response})
            batch["status"] = status
            if status == "failed":
                batch["errors"] = {"data": [{"code": "token_limit_exceeded"}]}
            for name, lines in (("output_file_id", good), ("error_file_id", bad)):
                if lines:
                    batch[name] = f"file-{len(self.files)}"
                    self.files[batch[name]] = lines[::-1]

    def completion(self, body, prompt, fault, price=1.0):
        """Return the whole reply to a request, and bill it."""
        n_choices = body.get("n", 1)
        choices = [self.choice(body, prompt, fault) for _ in range(n_choices)]
        n_in = sum(len(m["content"]) for m in body["messages"])
        usage = {"prompt_tokens": n_in, "completion_tokens": 5 * n_choices}
        cost = n_in * self.prices[0] + 5 * n_choices * self.prices[1]
        with self.lock:
            self.bill += price * cost / 1e6
            self.answered[prompt] += 1
            model, fingerprint = self.model, self.fingerprint
        if fault == "moved":
            fingerprint = "fp_2"
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "system_fingerprint": fingerprint,
            "choices": choices,
            "usage": usage | {"total_tokens": n_in + 5 * n_choices},
        }


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        chat = self.chat
        if chat.batch_faults:
            self.reply(chat.batch_faults.pop(0), {"error": {"code": "busy"}})
            return
        if "/batches?" in self.path:
            last = list(chat.batches.values())[::-1]
            self.reply(200, {"object": "list", "data": last, "has_more": False})
            return
        *_, kind, name = self.path.removesuffix("/content").split("/")
        found = chat.batches if kind == "batches" else chat.files
        if name not in found:
            self.reply(404, {"error": {"code": "not_found"}})
        elif kind == "batches":
            chat.looks += 1
            if chat.looks == chat.end_after_looks:
                chat.finish(*chat.end)
            self.reply(200, found[name])
        else:
            self.reply(200, "\n".join(map(json.dumps, found[name])))

    def upload(self, chat):
        """Take a file of requests, in a form."""
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        boundary = self.headers["Content-Type"].split("boundary=")[1]
        (part,) = (p for p in form.split(f"--{boundary}") if "filename=" in p)
        lines = part.split("\r\n\r\n", 1)[1].strip().split("\n")
        name = f"file-{len(chat.files)}"
        chat.files[name] = [json.loads(line) for line in lines]
        file = {"id": name, "object": "file", "bytes": 1, "created_at": 0}
        file |= {"filename": "rows.jsonl", "purpose": "batch", "status": "processed"}
        self.reply(200, file)

    def create_batch(self, chat, body):
        """Start a batch."""
        name = f"batch-{len(chat.batches)}"
        chat.batches[name] = body | {
            "id": name,
            "object": "batch",
            "created_at": 0,
            "status": "in_progress",
        }
        if chat.drops_after_start:
            chat.drops_after_start = False
            self.close_connection = True
            self.connection.close()
            return
        self.reply(200, chat.batches[name])

    def do_POST(self):
        chat = self.chat
        if self.path.endswith(("/files", "/batches")):
            chat.keys.add(self.headers["Authorization"])
            if chat.batch_faults:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.reply(chat.batch_faults.pop(0), {"error": {"code": "busy"}})
            elif self.path.endswith("/files"):
                self.upload(chat)
            else:
                length = int(self.headers["Content-Length"])
                self.create_batch(chat, json.loads(self.rfile.read(length)))
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = (
            body["messages"][-1]["content"] if "messages" in body else body["input"]
        )
        with chat.lock:
            chat.requests.append(body)
            chat.addresses.append(self.client_address)
            chat.keys.add(self.headers["Authorization"])
            number = len(chat.requests)
            fault = chat.fault_of(number, prompt)
            chat.in_flight += 1
            chat.most_in_flight = max(chat.most_in_flight, chat.in_flight)
        try:
            time.sleep(0.7 if fault == "slow" else chat.latency)
            self.answer(chat, body, prompt, fault)
        finally:
            with chat.lock:
                chat.in_flight -= 1

    def answer(self, chat, body, prompt, fault):
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if fault in ("429", "429 date", "429 ms", "500", "503", "520", "409"):
            headers = {
                "429": {"Retry-After": "0.05"},
                "429 date": {"Retry-After": formatdate(time.time(), usegmt=True)},
                "429 ms": {"retry-after-ms": "50"},
            }.get(fault, {})
            self.reply(int(fault.split()[0]), {"error": {"code": "busy"}}, headers)
            return
        if fault == "429 reset":
            headers = {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "50ms",
            }
            self.reply(429, {"error": {"code": "rate_limit_exceeded"}}, headers)
            return
        if fault == "402":
            self.reply(402, {"error": {"message": "Payment required"}})
            return
        if fault == "401":
            said = f"Incorrect API key: {self.headers['Authorization'][-4:]:*>20}"
            self.reply(401, {"error": {"code": "invalid_api_key", "message": said}})
            return
        if fault == "error in 200":
            self.reply(200, {"error": {"code": 502, "message": "upstream failed"}})
            return
        if fault == "html":
            self.reply(200, "<html>busy</html>")
            return
        if fault == "empty account":
            error = {"code": "insufficient_quota", "message": "You exceeded your quota"}
            self.reply(429, {"error": error})
            return
        if fault == "content_filter":
            self.reply(400, {"error": {"code": "content_filter"}})
            return
        if fault in WITHOUT_SYSTEM and body["messages"][0]["role"] == "system":
            self.reply(400, WITHOUT_SYSTEM[fault])
            return
        if fault == "no logprobs" and body.get("logprobs"):
            error = {
                "message": "logprobs is not supported by this model",
                "param": "logprobs",
            }
            self.reply(400, {"error": error})
            return
        if self.path.endswith("/decisions"):
            self.decide(chat, body, fault)
            return
        reply = chat.completion(body, prompt, fault)
        if fault == "half":
            payload = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload[: len(payload) // 2])
            self.close_connection = True
            return
        self.reply(200, reply)

    def decide(self, chat, body, fault):
        """Answer questions with probabilities, in one of the two forms."""
        answers = []
        for question in body["questions"]:
            first, *rest = question["choices"]
            p = 0.9 if "spam" in body["input"] else 0.2
            proba = {first: 1 - p} | {c: p / len(rest) for c in rest}
            if fault == "refusal":
                answers.append({"id": question["id"], "type": "refusal"})
            elif chat.listed:
                values = [{"value": c, "probability": p} for c, p in proba.items()]
                answers.append({"id": question["id"], "values": values[::-1]})
            else:
                choice = max(proba, key=proba.get)
                answer = {"type": "choice", "choice": choice, "probabilities": proba}
                answers.append({"id": question["id"]} | answer)
        with chat.lock:
            chat.answered[body["input"]] += 1
        self.reply(200, {"model": "judge-1", "answers": answers[::-1]})

    def reply(self, status, content, headers=()):
        text = content if isinstance(content, str) else json.dumps(content)
        payload = text.encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


@pytest.fixture
def chat(monkeypatch):
    """Run a chat server while a test lasts."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    server = ChatServer()
    yield server
    server.close()


@contextlib.contextmanager
def serving(answer):
    """Serve ``answer(path, headers, body)``: status, body and headers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "null")
            status, reply, *more = answer(self.path, self.headers, body)
            payload = reply if isinstance(reply, str) else json.dumps(reply)
            self.send_response(status)
            headers = {"Content-Type": "application/json"} | (more[0] if more else {})
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload.encode())))
            self.end_headers()
            self.wfile.write(payload.encode())

        do_GET = do_POST

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def serve():
    """Return a function that serves answers while a test lasts; it returns the URL."""
    with contextlib.ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(answer))
