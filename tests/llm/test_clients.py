"""Requests to a base URL: errors, redirects, forks and secrets."""

import multiprocessing

import pytest

from skadistill.exceptions import TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import MemoryLedger
from skadistill.llm import ChatTeacher
from skadistill.llm._clients import EndpointError, open_address
from skadistill.teachers import Limits

pytest.importorskip("httpx")

KEY = "sk-0123456789-secret-of-mine"
ROW = "my dear aunt Mathilda has won a prize"


def said(text):
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


def teacher_at(url, **params):
    limits = Limits(backoff=0.01, max_tries=2)
    params = {"limits": limits} | params
    return ChatTeacher(url, "m", ["spam", "ham"], "Which?", **params)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.mark.parametrize(
    ("status", "body", "headers", "quoted"),
    [
        (401, {"error": {"message": "No such user.", "code": 401}}, {}, "No such user"),
        (404, {"error": "model 'm' not found"}, {}, "model 'm' not found"),
        (404, {"detail": "Not Found"}, {}, "HTTP 404: Not Found"),
        (404, [{"error": {"message": "Gone", "status": "X"}}], {}, "HTTP 404: X: Gone"),
        (403, {"code": "no", "error": "Stop it"}, {}, "HTTP 403: no: Stop it"),
        (404, "404 page not found", {"Content-Type": "text/plain"}, "page not found"),
        (
            404,
            "<html>oops</html>",
            {"Content-Type": "text/html"},
            "HTTP 404: Not Found",
        ),
        (405, {}, {}, "Method Not Allowed"),
        (404, {"detail": [{"loc": ["body"], "msg": "gone"}]}, {}, '"msg": "gone"'),
    ],
)
def test_errors_quote_what_the_server_says(serve, status, body, headers, quoted):
    """In whichever form it says it; a status is written once."""
    url = serve(lambda *asked: (status, body, headers))
    with pytest.raises(TeacherError) as caught:
        buy_labels(teacher_at(url), [ROW], classes=["spam", "ham"])
    assert quoted in str(caught.value)
    assert f"{status} {status}" not in str(caught.value)
    assert "html" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        f"Cannot read '{ROW}' with the key {KEY}",
        f"Bad: {ROW[3:30]}... Key {KEY[:9]}*****{KEY[-7:]}",
        f"input {ROW!r} is not allowed for Bearer {KEY}",
    ],
)
def test_errors_quote_neither_the_row_nor_the_key(serve, message):
    """Which servers like to repeat."""
    refusal = 404, {"error": {"message": message}}
    url = serve(lambda *asked: refusal)
    with pytest.raises(TeacherError) as caught:
        buy_labels(teacher_at(url), [ROW], classes=["spam", "ham"])
    error, texts = caught.value, []
    while error is not None:
        texts += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert not any("Mathilda" in text or "won a prize" in text for text in texts)
    assert not any(part in text for text in texts for part in (KEY[3:9], KEY[-7:]))


def test_short_rows_are_not_quoted_either(serve):
    """A row of one word is hidden if it is quoted; words of the question are not."""
    refusal = 404, {"error": {"message": "nothing about gold, which?"}}
    url = serve(lambda *asked: refusal)
    with pytest.raises(TeacherError, match=r"nothing about \.\.\., which\?"):
        buy_labels(teacher_at(url), ["gold"], classes=["spam", "ham"])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_on_the_same_host_are_followed(serve, status):
    """With the request and the key; a slash too few is no reason to fail."""
    keys = []

    def answer(path, headers, body):
        if not path.startswith("/v2"):
            return status, {}, {"Location": "/v2/chat/completions"}
        keys.append(headers["Authorization"])
        return 200, said("spam" if body["messages"] else "?")

    url = serve(answer)
    bought = buy_labels(teacher_at(url), [ROW], classes=["spam", "ham"])
    assert bought.labels.tolist() == [[1.0, 0.0]]
    assert keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "there", ["http://localhost:9/v1?token=abc", "https://u:pw@elsewhere.example/v1"]
)
def test_redirects_elsewhere_are_an_error_that_costs_nothing(serve, there):
    """Neither key nor row is sent there; the error names the place, not its secrets."""
    ledger = MemoryLedger()
    url = serve(lambda *asked: (307, {}, {"Location": there}))
    with pytest.raises(TeacherError, match="it redirects to") as caught:
        buy_labels(
            teacher_at(url, prices=(1.0, 1.0)),
            [ROW],
            classes=["spam", "ham"],
            ledger=ledger,
        )
    assert "abc" not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert ledger.summary()["cost"] == ledger.summary()["max_lost_cost"] == 0


def test_redirects_in_a_circle_end(serve):
    """With an error."""
    place = {"Location": "/v1/chat/completions"}
    url = serve(lambda *asked: (308, {}, place))
    with pytest.raises(TeacherError, match="HTTP 308"):
        buy_labels(teacher_at(url), [ROW], classes=["spam", "ham"])


def test_an_address_may_end_in_a_query(serve):
    """As Azure's does; the path goes before it."""
    paths = []

    def answer(path, headers, body):
        paths.append(path)
        return 200, said("ham")

    url = serve(answer)
    client = f"{url}/?api-version=2024-10-21"
    buy_labels(teacher_at(client), [ROW], classes=["spam", "ham"])
    assert paths == ["/v1/chat/completions?api-version=2024-10-21"]


def test_secrets_in_an_address_or_in_options_are_not_shown():
    """By neither repr, nor HTML, nor the error of a connection."""
    url = f"http://user:{KEY}@127.0.0.1:9/v1?key={KEY}"
    teacher = teacher_at(url, options={"extra_headers": {"x": KEY}})
    with pytest.raises(TeacherError) as caught:
        buy_labels(teacher, [ROW], classes=["spam", "ham"])
    for text in (repr(teacher), teacher._repr_html_(), str(caught.value)):
        assert KEY not in text
    assert KEY not in teacher.identity


def ask_in_child(teacher, letter, results):
    rows = [f"row {i} {letter}" for i in range(20)]
    labels = buy_labels(teacher, rows, classes=list("abcd")).labels
    results.put((labels.argmax(axis=1) == "abcd".index(letter)).all())


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)
def test_a_fork_opens_connections_of_its_own(serve):
    """No child writes to a connection of its parent, nor closes one."""
    seen = []

    def answer(path, headers, body):
        seen.append(headers["X-Connection"])
        return 200, said(body["messages"][-1]["content"][-1])

    url = serve(answer)
    endpoint = open_address(url, None, 5.0)
    parent = endpoint.connections
    teacher = ChatTeacher(url, "m", list("abcd"), "Which?")
    buy_labels(teacher, ["row a"], classes=list("abcd"))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [
        context.Process(target=ask_in_child, args=(teacher, letter, results))
        for letter in "abcd"
    ]
    for child in children:
        child.start()
    assert all(results.get(timeout=60) for _ in children)
    for child in children:
        child.join()
    assert endpoint.connections is parent
    endpoint.process = -1  # as in a child
    assert endpoint.connections is not parent
    assert not parent.is_closed
    assert buy_labels(teacher, ["row b"], classes=list("abcd")).n_paid == 1


def test_an_error_without_a_body():
    """Is an error all the same."""

    class Response:
        status_code, headers, reason_phrase, text = 500, {}, "Oops", ""

        def json(self):
            raise ValueError

    assert str(EndpointError(Response())) == "HTTP 500: Oops"
