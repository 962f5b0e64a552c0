"""Jobs that are answered later, against a server that speaks files and batches."""

import multiprocessing
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller
from skadistill.exceptions import JobPendingError, TeacherCallError, TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.llm import BatchTeacher, ChatTeacher
from skadistill.teachers import Limits

pytest.importorskip("httpx")

CLASSES = ["ham", "spam"]
SECRET = "sk-secret-of-the-test"
FORK = multiprocessing.get_context("fork")


def make_client(kind, url):
    if kind == "url":
        return url
    openai = pytest.importorskip("openai")
    made = {"openai": openai.OpenAI, "async openai": openai.AsyncOpenAI}[kind]
    return made(base_url=url, api_key=SECRET)


def make_chat(chat, client=None, **params):
    return ChatTeacher(
        chat.url if client is None else client,
        model="small",
        classes=CLASSES,
        prompt="Is this message spam?",
        prices=chat.prices,
        **params,
    )


def make_teacher(chat, client=None, max_wait=0.0, **params):
    teacher = make_chat(chat, client)
    params = {"max_wait": max_wait, "poll_every": 0.01, "try_first": False} | params
    return BatchTeacher(teacher, **params)


def texts(n):
    return [f"{('spam', 'hello')[i % 2]} {i}" for i in range(n)]


def buy(teacher, rows, ledger):
    return buy_labels(teacher, rows, classes=CLASSES, ledger=ledger)


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
def test_a_purchase_is_one_job_at_half_the_price(chat, kind):
    """Pending until it has ended; then the same labels as from the chat endpoint."""
    teacher, ledger = make_teacher(chat, make_client(kind, chat.url)), MemoryLedger()
    with pytest.raises(JobPendingError, match="10 rows: batch-0") as pending:
        buy(teacher, texts(10), ledger)
    assert (pending.value.jobs, pending.value.n_rows) == (("batch-0",), 10)
    assert ledger.summary()["n_lost"] == 0
    chat.finish()
    bought = buy(teacher, texts(10), ledger)
    np.testing.assert_allclose(bought.labels[:, 1], [0.9, 0.2] * 5)
    assert (bought.n_paid, bought.n_free) == (10, 0)
    assert ledger.summary()["cost"] == pytest.approx(chat.bill, rel=1e-12)
    assert bought.cost == pytest.approx(chat.bill, rel=1e-12)
    assert buy(make_chat(chat), texts(10), ledger).n_free == 10
    assert len(chat.batches) == 1
    assert chat.keys == {f"Bearer {SECRET}"}


def test_a_job_is_waited_for(chat):
    """As long as max_wait says."""
    teacher = make_teacher(chat, max_wait=60.0)
    chat.finish_later()
    assert buy(teacher, texts(4), MemoryLedger()).labeled.all()


def submit_and_die(chat, path):
    teacher = make_teacher(chat, max_wait=60.0)
    teacher.poll_job = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    buy(teacher, texts(8), LabelLedger(path))


def test_a_killed_process_loses_no_job(chat, tmp_path):
    """A new process polls the job that the old one has submitted."""
    path = tmp_path / "labels.sqlite"
    child = FORK.Process(target=submit_and_die, args=(chat, path))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    chat.finish()
    ledger = LabelLedger(path)
    with pytest.raises(JobPendingError, match="4 rows: batch-1"):
        buy(make_teacher(chat), texts(12)[::-1], ledger)
    chat.finish()
    bought = buy(make_teacher(chat), texts(12)[::-1], ledger)
    np.testing.assert_allclose(bought.labels[::-1, 1], [0.9, 0.2] * 6)
    counts = ledger.summary()
    assert (counts["n_paid"], counts["n_lost"]) == (12, 0)
    assert counts["cost"] == pytest.approx(chat.bill, rel=1e-12)
    assert set(chat.answered.values()) == {1}


def test_expired_rows_are_submitted_again(chat):
    """What was answered in time is paid and kept; the rest cost nothing."""
    teacher, ledger = make_teacher(chat), MemoryLedger()
    with pytest.raises(JobPendingError):
        buy(teacher, texts(10), ledger)
    chat.finish("expired", only="spam")
    with pytest.raises(JobPendingError, match="5 rows: batch-1"):
        buy(teacher, texts(10), ledger)
    assert len(ledger) == 5
    chat.finish()
    assert buy(teacher, texts(10), ledger).labeled.all()
    assert set(chat.answered.values()) == {1}
    assert ledger.summary()["cost"] == pytest.approx(chat.bill, rel=1e-12)


@pytest.mark.parametrize(
    ("fault", "labeled"), [("refusal", 5), ("content_filter", 5), ("500", 6)]
)
def test_lines_without_a_label(chat, fault, labeled):
    """Refusals and filters are no label, remembered; errors are tried again."""
    teacher, ledger = make_teacher(chat), MemoryLedger()
    chat.faults = {"hello 3": fault}
    for _ in range(3):
        try:
            bought = buy(teacher, texts(6), ledger)
        except JobPendingError:
            chat.finish()
    assert bought.labeled.sum() == labeled
    assert bought.n_no_label == 6 - labeled
    assert ledger.summary()["cost"] == pytest.approx(chat.bill, rel=1e-12)
    assert len(chat.batches) == (2 if fault == "500" else 1)


def test_rows_that_stay_unanswered_are_an_error(chat):
    """After max_tries jobs, which cost nothing."""
    teacher, ledger = (
        make_teacher(chat, limits=Limits(max_tries=2), max_wait=60.0),
        MemoryLedger(),
    )
    for _ in range(2):
        with pytest.raises(JobPendingError):
            buy(clone(teacher).set_params(max_wait=0.0), texts(2), ledger)
        chat.finish("expired", only="nothing")
    chat.finish_later("expired", "nothing")
    with pytest.raises(TeacherCallError, match=r"2 jobs.*\(batch_expired|expired"):
        buy(teacher, texts(2), ledger)
    assert ledger.summary()["cost"] == chat.bill == 0
    assert ledger.jobs(teacher.identity, CLASSES) == []


def test_a_refused_job_is_an_error_that_costs_nothing(chat):
    """Its rows are free again."""
    teacher, ledger = make_teacher(chat), MemoryLedger()
    with pytest.raises(JobPendingError):
        buy(teacher, texts(2), ledger)
    chat.finish("failed")
    with pytest.raises(TeacherCallError, match="token_limit_exceeded"):
        buy(teacher, texts(2), ledger)
    counts = ledger.summary()
    assert (counts["cost"], counts["n_lost"], ledger.claims()) == (0, 0, [])


def test_faults_that_pass_do_not_end_a_job(chat):
    """While it is uploaded, submitted or looked at; it is submitted once."""
    teacher, ledger = make_teacher(chat, max_wait=60.0), MemoryLedger()
    chat.batch_faults = [503, 429]
    chat.finish_later()
    assert buy(teacher, texts(3), ledger).labeled.all()
    chat.batch_faults = [401]
    with pytest.raises(TeacherCallError, match=r"\(401\)") as caught:
        buy(teacher, ["other"], ledger)
    assert SECRET not in str(caught.value)
    assert len(chat.batches) == 1
    assert ledger.summary()["n_lost"] == 0


def test_rows_that_are_too_long_are_not_submitted(chat):
    """No label, at no cost, as from the chat endpoint."""
    chat_teacher = make_chat(chat, max_input_tokens=200)
    teacher = BatchTeacher(chat_teacher, max_wait=0.0)
    bought = buy(teacher, ["x" * 900], MemoryLedger())
    assert (bought.n_no_label, bought.cost, chat.batches) == (1, 0, {})


def test_ask_waits_for_the_job(chat):
    """Without a ledger nobody would remember it."""
    chat.finish_later()
    labels = make_teacher(chat).ask(texts(2), CLASSES[::-1])
    np.testing.assert_allclose(labels[:, 0], [0.9, 0.2])


def make_functions():
    """Make a pair of functions over jobs in memory, and what they saw."""
    jobs, done = {}, {}

    def submit(rows):
        jobs[f"job {len(jobs)}"] = list(rows)
        return f"job {len(jobs) - 1}"

    def poll(job):
        if job not in done:
            return None
        return ["spam" if "spam" in row else "ham" for row in jobs[job]]

    return submit, poll, jobs, done


def test_a_pair_of_functions(chat):
    """Answers are in the order of the rows submitted, whoever polls."""
    submit, poll, jobs, done = make_functions()
    teacher = BatchTeacher(
        (submit, poll), name="me", version="1", max_wait=0.0, cost_per_row=0.25
    )
    ledger = MemoryLedger(max_cost=10.0)
    with pytest.raises(JobPendingError, match="job 0"):
        buy(teacher, texts(7), ledger)
    done |= jobs
    bought = buy(teacher, texts(7)[::-1], ledger)
    assert bought.labels[::-1].argmax(axis=1).tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert ledger.summary()["cost"] == 7 * 0.25
    assert len(jobs) == 1


def make_distiller(teacher, path, seed=0):
    return ActiveDistiller(
        teacher,
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        query_strategy="margin",
        budget=30,
        query_size=10,
        ledger=path,
        unlabeled_marker="?",
        random_state=seed,
    )


@pytest.mark.parametrize("seed", [0, None])
def test_a_fit_ends_as_waiting_and_goes_on(chat, tmp_path, seed):
    """Each run is usable; together they pay what one fit would, and nothing twice."""
    X = texts(60)
    y = np.array(["spam", "ham", *["?"] * 58], dtype=object)
    teacher, path = make_teacher(chat), tmp_path / "labels.sqlite"
    ends, n_paid, cost = [], 0, 0.0
    for _ in range(4):
        distiller = make_distiller(teacher, path, seed).fit(X, y)
        ends.append(distiller.termination_condition_)
        assert distiller.predict(["spam 0"]).shape == (1,)
        n_paid, cost = n_paid + distiller.n_paid_, cost + distiller.cost_
        if len(ends) == 2:  # nothing has ended meanwhile
            again = make_distiller(teacher, path, seed).fit(X, y)
            assert again.termination_condition_ == "waiting"
            assert (again.n_paid_, again.n_queries_) == (0, 10)
        chat.finish()
    assert ends == ["waiting", "waiting", "waiting", "budget"]
    assert (n_paid, len(chat.answered)) == (30, 30)
    assert set(chat.answered.values()) == {1}
    assert cost == pytest.approx(chat.bill)
    assert LabelLedger(path).summary()["cost"] == pytest.approx(chat.bill)


def test_teacher_checks_are_one_job(chat, tmp_path):
    """Of the default strategy too, which would check in steps."""
    X = texts(80)
    y = np.array([*["spam", "ham"] * 10, *["?"] * 60], dtype=object)
    teacher, path = make_teacher(chat), tmp_path / "labels.sqlite"
    distiller = make_distiller(teacher, path).set_params(query_strategy="robust")
    ends = []
    while len(ends) < 9 and "budget" not in ends:
        distiller.fit(X, y)
        ends.append(distiller.termination_condition_)
        if len(ends) == 1:
            assert distiller.n_teacher_checks_ == 0
        chat.finish()
    assert ends == ["waiting"] * (len(ends) - 1) + ["budget"]
    assert len(chat.batches) <= 4
    assert set(chat.answered.values()) == {1}


def test_jobs_that_nobody_would_remember_are_refused(chat):
    """Before anything is submitted."""
    y = np.array(["spam", "ham", "?", "?"], dtype=object)
    with pytest.raises(TeacherError, match="without a ledger its jobs are forgotten"):
        make_distiller(make_teacher(chat), None).set_params(budget=2).fit(texts(4), y)
    with pytest.raises(TeacherError, match="without a ledger its jobs are forgotten"):
        buy(make_teacher(chat), texts(4), None)
    assert chat.batches == {}


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ((1, 2), "pair of functions"),
        ((len,), "pair of functions"),
        ("chat", "'jobs' parameter"),
    ],
)
def test_what_is_no_pair_is_an_error(jobs, message):
    """Before anything is submitted."""
    with pytest.raises(ValueError, match=message):
        buy(BatchTeacher(jobs, CLASSES, name="me"), texts(2), MemoryLedger())


def test_a_client_without_batches_is_an_error(chat):
    """A chat completion function cannot take files."""
    client = make_client("openai", chat.url)
    only_chat = type("Client", (), {"chat": client.chat})()
    with pytest.raises(TeacherError, match="which has no batches"):
        buy(make_teacher(chat, only_chat), texts(2), MemoryLedger())


def test_its_identity_is_that_of_the_chat_teacher(chat):
    """So that labels can be shared; a name makes another."""
    assert make_teacher(chat).identity == make_chat(chat).identity
    assert make_teacher(chat, name="me", version="2").identity == "me/2"
    teacher = make_teacher(chat)
    assert (
        teacher.estimate_cost(texts(3)) == make_chat(chat).estimate_cost(texts(3)) / 2
    )
    assert teacher.max_cost_per_row == make_chat(chat).cost_per_row / 2


def test_rows_in_jobs_are_not_waited_for_by_others(chat):
    """Nobody would collect them: the chat teacher says who can."""
    ledger = MemoryLedger()
    with pytest.raises(JobPendingError):
        buy(make_teacher(chat), texts(3), ledger)
    with pytest.raises(TeacherError, match=r"free_claims\(owner='job batch-0'\)"):
        buy(make_chat(chat), texts(5), ledger)
    assert len(ledger) == 2


def test_an_interrupt_leaves_the_job(chat):
    """Ctrl-C while it is waited for: the next purchase collects it."""
    teacher, ledger = make_teacher(chat, max_wait=60.0), MemoryLedger()

    def interrupt(*_):
        raise KeyboardInterrupt

    teacher.poll_job = interrupt
    with pytest.raises(KeyboardInterrupt):
        buy(teacher, texts(3), ledger)
    assert ledger.summary()["n_lost"] == 0
    chat.finish()
    assert buy(make_teacher(chat), texts(3), ledger).n_paid == 3
    assert len(chat.batches) == 1


def test_a_submission_that_may_be_billed_counts(chat):
    """A connection that breaks after the batch was sent: rows at their price."""
    submit, poll, _, done = make_functions()

    def breaks(rows):
        submit(rows)
        raise ConnectionError("reset")

    ledger = MemoryLedger()
    teacher = BatchTeacher((breaks, poll), name="me", version="1", cost_per_row=0.25)
    with pytest.raises(TeacherCallError, match="ConnectionError for submit"):
        buy(teacher, texts(4), ledger)
    counts = ledger.summary()
    assert (counts["lost_cost"], counts["max_lost_cost"]) == (1.0, 1.0)
    assert (counts["cost"], counts["n_failed"], ledger.claims()) == (0.0, 4, [])
    assert done == {}


@pytest.mark.parametrize("kind", ["url", "openai", "async openai"])
def test_a_start_that_was_not_confirmed_is_found(chat, kind):
    """The connection breaks after the batch has started: it is not started twice."""
    teacher, ledger = make_teacher(chat, make_client(kind, chat.url)), MemoryLedger()
    chat.drops_after_start = True
    with pytest.raises(JobPendingError, match="batch-0"):
        buy(teacher, texts(3), ledger)
    chat.finish()
    assert buy(teacher, texts(3), ledger).n_paid == 3
    assert len(chat.batches) == 1
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)


@pytest.mark.parametrize("status", ["queued", "VALIDATING", "pre_processing", "paused"])
def test_a_status_that_is_not_known_means_that_it_runs(chat, status):
    """Nothing is submitted again, and so nothing is paid twice."""
    teacher, ledger = make_teacher(chat, chat.url), MemoryLedger()
    for _ in range(3):
        with pytest.raises(JobPendingError):
            buy(teacher, texts(4), ledger)
        for batch in chat.batches.values():
            batch["status"] = status
    (batch,) = chat.batches.values()
    batch["status"] = "in_progress"
    chat.finish()
    assert buy(teacher, texts(4), ledger).labeled.all()
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)


@pytest.mark.parametrize("late", ["not listed", "cut", "listed, not found"])
def test_a_file_that_comes_late_is_waited_for(chat, late):
    """A batch that has ended and answered all brings its answers with the next look."""
    teacher, ledger = make_teacher(chat), MemoryLedger()
    with pytest.raises(JobPendingError):
        buy(teacher, texts(4), ledger)
    chat.finish()
    ((name, batch),) = chat.batches.items()
    file = batch["output_file_id"]
    batch["request_counts"] = {"total": 4, "completed": 4, "failed": 0}
    lines = chat.files[file]
    if late == "not listed":
        batch["output_file_id"] = None
    elif late == "cut":
        chat.files[file] = lines[:2]
    else:
        batch["output_file_id"] = "file-missing"
    with pytest.raises(JobPendingError):
        buy(teacher, texts(4), ledger)
    assert list(chat.batches) == [name]
    batch["output_file_id"], chat.files[file] = file, lines
    assert buy(teacher, texts(4), ledger).labeled.all()
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)


REFUSED = {
    "max_tokens": "'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
    "temperature": "'temperature' does not support 0.0 with this model.",
    "logprobs": "'logprobs' is not supported with this model.",
}


def test_what_a_reasoning_model_does_not_take_is_learned(chat, tmp_path):
    """One field a job, as it says; the job's name keeps them for other processes."""
    completion = chat.completion

    def finish():
        for batch in chat.batches.values():
            if batch["status"] == "completed":
                continue
            good, bad = [], []
            for line in chat.files[batch["input_file_id"]]:
                body, name = line["body"], line["custom_id"]
                field = next((f for f in REFUSED if f in body), None)
                if field is None:
                    prompt = body["messages"][-1]["content"]
                    reply = completion(body, prompt, None, price=0.5)
                    response = {"status_code": 200, "body": reply}
                    good.append({"custom_id": name, "response": response})
                else:
                    error = {"error": {"message": REFUSED[field], "param": field}}
                    response = {"status_code": 400, "body": error}
                    bad.append({"custom_id": name, "response": response})
            batch["status"] = "completed"
            for key, lines in (("output_file_id", good), ("error_file_id", bad)):
                if lines:
                    batch[key] = f"file-{len(chat.files)}"
                    chat.files[batch[key]] = lines

    limits = Limits(max_tries=2)
    ledger = LabelLedger(tmp_path / "labels.sqlite")
    for _ in range(4):  # as if in new processes
        teacher = make_teacher(chat, limits=limits)
        with pytest.raises(JobPendingError) as pending:
            buy(teacher, texts(6), ledger)
        finish()
    (job,) = pending.value.jobs
    assert '"max_completion_tokens": 64' in job
    assert {"temperature", "logprobs"} <= set(job.replace('"', " ").split())
    bought = buy(make_teacher(chat, limits=limits), texts(6), ledger)
    assert bought.labeled.all()
    assert len(chat.batches) == 4
    assert ledger.summary()["cost"] == pytest.approx(chat.bill)
    ledger.close()


def test_a_row_refused_in_unknown_words_has_no_label(chat):
    """If others of its batch are answered."""
    teacher, ledger = make_teacher(chat), MemoryLedger()
    with pytest.raises(JobPendingError):
        buy(teacher, texts(4), ledger)
    chat.finish()
    (batch,) = chat.batches.values()
    lines = chat.files[batch["output_file_id"]]
    error = {"error": {"message": "Computer says no"}}
    lines[0] = lines[0] | {"response": {"status_code": 400, "body": error}}
    bought = buy(teacher, texts(4), ledger)
    assert (bought.n_no_label, bought.labeled.sum()) == (1, 3)


def test_the_window_is_sent_and_the_discount_counts(chat):
    """A batch costs that share of the prices, in the plan, the limit and the bill."""
    full = make_chat(chat)
    teacher = make_teacher(chat, discount=0.25, completion_window="12h")
    assert teacher.max_cost_per_row == 0.25 * full.cost_per_row
    assert teacher.estimate_cost(["spam"]) == 0.25 * full.estimate_cost(["spam"])
    ledger = MemoryLedger()
    with pytest.raises(JobPendingError):
        buy(teacher, texts(4), ledger)
    assert chat.batches["batch-0"]["completion_window"] == "12h"
    chat.finish()
    # The server bills half of its prices.
    assert buy(teacher, texts(4), ledger).cost == pytest.approx(chat.bill / 2)


def test_functions_have_a_price_and_classes_of_their_own():
    """`poll` answers in the order of the classes declared; each row costs its price."""
    jobs = {}

    def submit(rows):
        jobs["job"] = np.tile([0.9, 0.1], (len(rows), 1))
        return "job"

    teacher = BatchTeacher((submit, jobs.get), classes=CLASSES[::-1], cost_per_row=0.5)
    bought = buy(teacher, texts(3), MemoryLedger(max_cost=10))
    np.testing.assert_allclose(bought.labels, [[0.1, 0.9]] * 3)
    assert bought.cost == teacher.max_costs(texts(3)).sum() == 1.5


def test_limits_bound_the_tries_of_a_batch(chat, monkeypatch):
    """So many calls, with waits that grow from the backoff."""
    waits = []
    monkeypatch.setattr("skadistill.llm._batch.time.sleep", waits.append)
    limits = Limits(max_tries=3, backoff=1e-3)
    chat.batch_faults = [503] * 9
    with pytest.raises(TeacherCallError, match="503"):
        buy(make_teacher(chat, limits=limits), texts(2), MemoryLedger())
    assert len(chat.batch_faults) == 6
    assert len(waits) == 2
    assert max(waits) <= 4e-3


def test_the_first_row_is_asked_about_at_once(chat):
    """At the full price; the rest are one job, and other processes do not repeat it."""
    teacher, ledger = make_teacher(chat, try_first=True), MemoryLedger()
    with pytest.raises(JobPendingError, match="9 rows: batch-0"):
        buy(teacher, texts(10), ledger)
    assert len(chat.requests) == len(ledger) == 1
    with pytest.raises(JobPendingError):  # as if in a new process
        buy(make_teacher(chat, try_first=True), texts(14), ledger)
    chat.finish()
    bought = buy(make_teacher(chat, try_first=True), texts(14), ledger)
    np.testing.assert_allclose(bought.labels[:, 1], [0.9, 0.2] * 7)
    assert (len(chat.requests), len(chat.batches)) == (1, 2)
    assert ledger.summary()["cost"] == pytest.approx(chat.bill, rel=1e-12)
    assert set(chat.answered.values()) == {1}


def test_what_a_model_does_not_take_is_known_before_the_first_job(chat):
    """The row that is asked about first shows it; a job's name keeps it."""
    chat.faults = {"spam": "no logprobs", "hello": "no logprobs"}
    ledger = MemoryLedger()
    with pytest.raises(JobPendingError) as pending:
        buy(make_teacher(chat, try_first=True), texts(6), ledger)
    (lines,) = chat.files.values()
    assert not any("logprobs" in line["body"] for line in lines)
    assert "logprobs" in pending.value.jobs[0]
    with pytest.raises(JobPendingError):
        buy(make_teacher(chat, try_first=True), texts(8), ledger)
    assert len(chat.requests) == 2  # one with the field, one without
    *_, lines = chat.files.values()
    assert not any("logprobs" in line["body"] for line in lines)


def test_a_client_that_has_batches_alone_is_not_in_the_way(chat):
    """The row that cannot be asked about first is in the job like the others."""
    openai = make_client("openai", chat.url)

    def create(**body):
        raise NotImplementedError

    completions = SimpleNamespace(create=create)
    client = SimpleNamespace(
        chat=SimpleNamespace(completions=completions),
        files=openai.files,
        batches=openai.batches,
    )
    teacher = ending_at_once(chat, make_teacher(chat, client, 60.0, try_first=True))
    bought = buy(teacher, texts(6), MemoryLedger())
    assert bought.labeled.all()
    assert (len(chat.requests), len(chat.batches)) == (0, 1)


def ending_at_once(chat, teacher):
    """Return a teacher whose jobs have ended when they are looked at."""
    poll_job = teacher.poll_job

    def poll(*job):
        chat.finish()
        return poll_job(*job)

    teacher.poll_job = poll
    return teacher


def test_a_limit_holds_for_the_first_row_and_the_job_together(chat):
    """Each is claimed at what it costs at most."""
    chat_teacher = make_chat(chat)
    most = float(chat_teacher.max_costs(texts(1))[0])
    for n_more in (0, 1, 3):
        limit = most + n_more * float(chat_teacher.prices_of(texts(1))[0]) / 2
        ledger = MemoryLedger(max_cost=limit)
        teacher = ending_at_once(chat, make_teacher(chat, try_first=True, max_wait=60))
        before = chat.bill
        bought = buy(teacher, texts(40), ledger)
        assert 0 < bought.n_paid < 40
        assert chat.bill - before <= ledger.summary()["cost"] + 1e-12 <= limit + 1e-9


def broken(choice, kind):
    """Return a choice as servers send it that break off."""
    if kind == "error":
        return choice | {"finish_reason": "error"}
    content = None if kind == "null" else ""
    return choice | {"message": {"role": "assistant", "content": content}}


@pytest.mark.parametrize("kind", ["error", "null", "empty"])
@pytest.mark.parametrize("usage", [True, False])
def test_replies_that_broke_off_are_asked_for_again_and_counted(chat, kind, usage):
    """Without usage at the most that they may be."""
    teacher, ledger = make_teacher(chat), MemoryLedger(max_cost=1.0)
    rows = texts(4)
    with pytest.raises(JobPendingError):
        buy(teacher, rows, ledger)
    chat.finish()
    for line in chat.files[chat.batches["batch-0"]["output_file_id"]][:2]:
        body = line["response"]["body"]
        body["choices"] = [broken(body["choices"][0], kind)]
        if not usage:
            del body["usage"]
    with pytest.raises(JobPendingError, match="2 rows: batch-1"):
        buy(teacher, rows, ledger)
    chat.finish()
    assert buy(teacher, rows, ledger).labeled.all()
    cost, bill = ledger.summary()["cost"], chat.bill
    if usage:
        assert cost == pytest.approx(bill, rel=1e-12)
    else:
        assert bill < cost < bill + teacher.max_costs(rows).sum()


def test_a_row_whose_reply_is_always_empty_has_no_label(chat):
    """After as many jobs as it may have; others keep their labels."""
    completion = chat.completion

    def empty(body, prompt, fault, price=1.0):
        reply = completion(body, prompt, fault, price)
        if prompt == "hello 1":
            reply["choices"] = [broken(reply["choices"][0], "null")]
        return reply

    chat.completion = empty
    ledger = MemoryLedger()
    limits = Limits(max_tries=2)
    teacher = ending_at_once(chat, make_teacher(chat, max_wait=60.0, limits=limits))
    bought = buy(teacher, texts(4), ledger)
    assert bought.no_label.tolist() == [False, True, False, False]
    assert (chat.answered["hello 1"], len(chat.batches)) == (2, 2)
    assert ledger.summary()["cost"] == pytest.approx(chat.bill, rel=1e-12)


def test_errors_quote_the_server(chat):
    """A job that is refused, and a request about it; never the key."""
    teacher, ledger = make_teacher(chat), MemoryLedger()
    with pytest.raises(JobPendingError):
        buy(teacher, texts(2), ledger)
    chat.finish("failed")
    said = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
    chat.batches["batch-0"]["errors"] = {"data": [said]}
    with pytest.raises(TeacherCallError, match="Enqueued token limit reached"):
        buy(teacher, texts(2), ledger)
    chat.batch_faults = [401]
    with pytest.raises(TeacherCallError, match=r"HTTP 401: busy"):
        buy(teacher, texts(2), ledger)
