"""A chat model as a teacher: time, money and labels, also with faults and kills.

A server on this machine speaks the chat protocol, waits 0.3 s for each reply, and names
the wrong class of 10 % of the texts. It counts what it answers and bills. `ChatTeacher`
asks it through its address, 16 calls at a time; the student is a logistic regression on
tf-idf, the rows are chosen by margin, the budget is 2,000.

* Time: by the clock, beside requests (those that fail included) * latency / 16 + the
  seconds in which the student is trained and scores the pool.
* No label: beside the rows that the server refused, by its own count.
* Faults: of the requests 2 % are refused with 429 and 1 % with 500, 1 % of the
  connections are dropped; of the replies 2 % are refusals, 3 % sentences, 1 % are
  written otherwise.
* Kills: the process is killed 20 times in the middle of its calls, and started again.

    SKADISTILL_DATA=... python benchmarks/llm_teacher.py            # ten minutes
    SKADISTILL_DATA=... python benchmarks/llm_teacher.py --quick    # budget 200
"""

import argparse
import asyncio
import csv
import gzip
import json
import logging
import math
import multiprocessing
import os
import signal
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

import numpy as np
from _common import data_folder, machine_lines, markdown_table, save_result
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller, ChatTeacher
from skadistill.ledger import LabelLedger
from skadistill.teachers import Limits

LATENCY, CONCURRENCY, ERROR = 0.3, 16, 0.1
PRICES = (0.15, 0.60)
DATA = {"ag_news10k": 25, "banking77": 5}  # labeled rows of each class
SPAWN = multiprocessing.get_context("spawn")


def read_texts(name, split):
    """Return texts and labels of one split."""
    path = Path(data_folder()) / f"{name}.tsv.gz"
    with gzip.open(path, "rt", encoding="utf8", newline="\n") as stream:
        rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        found = [(text, int(label)) for s, label, text in rows if s == split]
    texts, labels = zip(*found, strict=True)
    return list(texts), np.array(labels)


def share(text, salt):
    """Return a number in [0, 1) that depends on a text alone."""
    return zlib.crc32(f"{salt}{text}".encode()) / 2**32


class Server:
    """Answer for one data set; count and bill."""

    def __init__(self, name, latency, faults):
        texts, labels = read_texts(name, "train")
        self.truth = dict(zip(texts, labels.tolist(), strict=True))
        self.n_classes = int(labels.max()) + 1
        self.latency, self.faults = latency, faults
        self.n_requests = self.n_answers = 0
        self.n_open = self.most_open = 0
        self.tokens = [0, 0]
        self.rows, self.refused = {}, set()

    def reply_to(self, body):
        """Return status and content."""
        text = body["messages"][-1]["content"]
        self.n_requests += 1
        if self.faults:
            draw = share(text, self.n_requests)
            if draw < 0.04:
                status = 429 if draw < 0.02 else 500 if draw < 0.03 else None
                return status, {"error": {"code": "busy"}}
        label = self.truth[text]
        if share(text, "wrong") < ERROR:
            label = (label + 1 + int(share(text, "as") * (self.n_classes - 1))) % (
                self.n_classes
            )
        others = [(label + k) % self.n_classes for k in (1, 2)]
        top = [
            (str(label + 1), 0.8),
            *((str(o + 1), 0.09) for o in others),
            ("I", 0.01),
        ]
        content, refusal = str(label + 1), None
        kind = share(text, "reply") if self.faults else 1.0
        if kind < 0.02:
            content, refusal, top = None, "I cannot help with that.", []
            self.refused.add(text)
        elif kind < 0.05:
            content, top = f"I would say this is **{label + 1}**.", [("I", 0.97)]
        elif kind < 0.06:
            content = f" {content}."
            top = [(f" {token}", p) for token, p in top]
        listed = [{"token": t, "logprob": math.log(p)} for t, p in top]
        choice = {
            "message": {"content": content, "refusal": refusal},
            "finish_reason": "stop",
            "logprobs": {"content": [listed[0] | {"top_logprobs": listed}]}
            if listed
            else None,
        }
        n_in = sum(len(m["content"]) for m in body["messages"]) // 4
        self.tokens[0] += n_in
        self.tokens[1] += 3
        self.n_answers += 1
        self.rows[text] = self.rows.get(text, 0) + 1
        usage = {"prompt_tokens": n_in, "completion_tokens": 3}
        return 200, {"model": "m-1", "choices": [choice], "usage": usage}

    def stats(self):
        bill = (self.tokens[0] * PRICES[0] + self.tokens[1] * PRICES[1]) / 1e6
        return {
            "bill": bill,
            "answers": self.n_answers,
            "requests": self.n_requests,
            "rows": len(self.rows),
            "refused": len(self.refused),
            "most_open": self.most_open,
        }

    async def serve(self, reader, writer):
        """Answer on one connection until it is closed."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (
                        int(line.split(":")[1])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length")
                    ),
                    0,
                )
                data = await reader.readexactly(length)
                if head.startswith("GET"):
                    status, content = 200, self.stats()
                else:
                    self.n_open += 1
                    self.most_open = max(self.most_open, self.n_open)
                    await asyncio.sleep(self.latency)
                    self.n_open -= 1
                    status, content = self.reply_to(json.loads(data))
                if status is None:
                    break
                payload = json.dumps(content).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(payload)}\r\n\r\n".encode()
                    + payload
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def run_server(port, *args):
    """Serve until the process is ended."""

    async def main():
        server = await asyncio.start_server(Server(*args).serve, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def start_server(*args):
    """Start a server in a process of its own; return it and its address."""
    port = SPAWN.Queue()
    process = SPAWN.Process(target=run_server, args=(port, *args), daemon=True)
    process.start()
    return process, f"http://127.0.0.1:{port.get()}/v1"


def stats_of(url):
    """Return what the server has counted."""
    with urllib.request.urlopen(f"{url}/stats") as response:
        return json.load(response)


def make_problem(name):
    """Return training texts, labels with -1 for hidden ones, and test rows."""
    texts, truth = read_texts(name, "train")
    first = {}
    for i, text in enumerate(texts):
        first.setdefault(text, i)
    rows = np.random.default_rng(0).permutation(sorted(first.values()))
    texts, truth = [texts[i] for i in rows], truth[rows]
    y, n_classes = np.full(len(texts), -1), int(truth.max()) + 1
    for k in range(n_classes):
        chosen = np.flatnonzero(truth == k)[: DATA[name]]
        y[chosen] = k + 1
    return texts, y


def fit(name, url, ledger, budget):
    """Distill once; return the distiller and its seconds."""
    X, y = make_problem(name)
    n_classes = int(y.max())
    teacher = ChatTeacher(
        url,
        model="m",
        classes=list(range(1, n_classes + 1)),
        prompt="Which kind is it?",
        answer_with="number",
        prices=PRICES,
        options={"max_tokens": 8},
        limits=Limits(max_concurrency=CONCURRENCY),
    )
    distiller = ActiveDistiller(
        teacher,
        make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0)),
        query_strategy="margin",
        objective="soft",
        budget=budget,
        ledger=ledger,
        random_state=0,
    )
    start = time.perf_counter()
    distiller.fit(X, y)
    return distiller, time.perf_counter() - start


def measure(name, faults, budget):
    """Return a row of the table of whole runs."""
    process, url = start_server(name, LATENCY, faults)
    with tempfile.TemporaryDirectory() as folder:
        ledger = LabelLedger(Path(folder) / "labels.sqlite")
        distiller, seconds = fit(name, url, ledger, budget)
        summary, stats = ledger.summary(), stats_of(url)
        ledger.close()
    process.terminate()
    X_test, y_test = read_texts(name, "test")
    history = distiller.history_
    own = sum(
        r["seconds_student"] + r["seconds_predict"] + r["seconds_query"]
        for r in history
    )
    ideal = stats["requests"] * LATENCY / CONCURRENCY
    return [
        name,
        "yes" if faults else "no",
        distiller.n_paid_,
        distiller.n_no_label_,
        stats["refused"],
        stats["requests"],
        stats["most_open"],
        f"{ideal:.1f}",
        f"{own:.1f}",
        f"{seconds:.1f}",
        f"{seconds / (ideal + own):.2f}",
        f"{stats['bill']:.6f}",
        f"{summary['cost']:.6f}",
        f"{summary['lost_cost']:.6f}",
        f"{100 * distiller.score(X_test, y_test + 1):.1f}",
    ]


def child(name, url, path, budget):
    """Fit in a process that will be killed."""
    logging.disable(logging.CRITICAL)
    fit(name, url, path, budget)


def measure_kills(name, n_kills, budget):
    """Return a row of the table of kills."""
    process, url = start_server(name, 0.1, False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.sqlite"
        for k in range(n_kills + 1):
            fitting = SPAWN.Process(target=child, args=(name, url, path, budget))
            fitting.start()
            stop_at = (k + 1) * budget / (n_kills + 1)
            while fitting.is_alive():
                if k < n_kills and stats_of(url)["answers"] >= stop_at:
                    os.kill(fitting.pid, signal.SIGKILL)
                time.sleep(0.005)
            fitting.join()
        ledger = LabelLedger(path)
        ledger.check()
        summary, stats = ledger.summary(), stats_of(url)
        # Those of the last process end when somebody claims again.
        ledger.close()
    process.terminate()
    return [
        name,
        n_kills,
        summary["n_paid"],
        stats["answers"],
        stats["rows"],
        summary["n_lost"],
        f"{stats['bill']:.6f}",
        f"{summary['cost']:.6f}",
        f"{summary['lost_cost']:.6f}",
        f"{summary['cost'] + summary['lost_cost'] - stats['bill']:+.6f}",
        f"{(summary['cost'] + summary['lost_cost']) / stats['bill'] - 1:+.2%}",
        f"{summary['max_lost_cost']:.6f}",
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    budget, n_kills = (200, 3) if quick else (2000, 20)
    logging.disable(logging.CRITICAL)
    runs = [measure(name, f, budget) for name in DATA for f in (False, True)]
    kills = [measure_kills("ag_news10k", n_kills, budget)]
    text = "\n".join(
        [
            "# A chat model as a teacher",
            "",
            f"Budget {budget}, {CONCURRENCY} calls in flight, {LATENCY} s for a reply, "
            f'{100 * ERROR:.0f} % wrong. "Ideal" is requests * latency / calls in '
            'flight; "ratio" is the clock over ideal + student. Money is per million '
            f"tokens {PRICES}.",
            "",
            markdown_table(
                [
                    "data",
                    "faults",
                    "labels paid",
                    "no label",
                    "refused by server",
                    "requests",
                    "in flight",
                    "ideal s",
                    "student s",
                    "clock s",
                    "ratio",
                    "server's bill",
                    "ledger's cost",
                    "lost (estimate)",
                    "test accuracy %",
                ],
                runs,
            ),
            "",
            "Killed in the middle of calls and started again (0.1 s for a reply). "
            "Answers to a process that was killed meanwhile are billed and lost. The "
            "ledger estimates them by the mean price of the others; the most that they "
            "may have cost counts against max_cost.",
            "",
            markdown_table(
                [
                    "data",
                    "kills",
                    "labels paid",
                    "answers",
                    "rows",
                    "lost rows",
                    "server's bill",
                    "ledger's cost",
                    "lost (estimate)",
                    "difference",
                    "relative",
                    "lost at most",
                ],
                kills,
            ),
            "",
            *(f"- {line}" for line in machine_lines()),
        ]
    )
    if quick:
        print(text)
    else:
        save_result("llm_teacher.md", text)


if __name__ == "__main__":
    main()
