"""What a client or a partial holds is shown nowhere."""

import dataclasses
import functools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skadistill import ActiveDistiller
from skadistill._utils.display import message_of, qualified_name, text_of
from skadistill.exceptions import TeacherError
from skadistill.teachers import (
    AsyncTeacher,
    FunctionTeacher,
    ParallelTeacher,
    as_teacher,
)
from skadistill.teachers._estimator import EstimatorTeacher

SECRET = "sk-SECRET-0123456789"


def ask(X, api_key=None):
    return (np.asarray(X)[:, 0] > 0).astype(int)


@dataclasses.dataclass
class Client:
    api_key: str
    headers: dict = dataclasses.field(
        default_factory=lambda: {"Authorization": f"Bearer {SECRET}"}
    )

    def label(self, X):
        return ask(X)

    def __call__(self, X):
        return ask(X)


@dataclasses.dataclass
class Model:
    token: str

    def predict(self, X):
        return ask(X)


CLIENT = Client(SECRET)
FUNCTIONS = {
    "partial": functools.partial(ask, api_key=SECRET),
    "method": CLIENT.label,
    "callable object": CLIENT,
    "partial of a method": functools.partial(CLIENT.label),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_text_shows_what_a_function_holds(name):
    """Neither repr nor HTML, of a teacher, a distiller or a search around it."""
    function = FUNCTIONS[name]
    teachers = [
        function,
        FunctionTeacher(function, embedding=function),
        AsyncTeacher(function, count_tokens=function, retryable=function),
        ParallelTeacher(FunctionTeacher(function)),
    ]
    for teacher in teachers:
        distiller = ActiveDistiller(teacher, LogisticRegression())
        shown = [distiller, make_pipeline(distiller)]
        shown.append(GridSearchCV(distiller, {"budget": [10]}))
        for thing in shown + [teacher] * isinstance(teacher, FunctionTeacher):
            assert SECRET not in repr(thing)
            assert SECRET not in thing._repr_html_()
        assert qualified_name(function).rpartition(".")[2] in repr(distiller)
        # What is shown is not what is kept.
        assert clone(distiller).get_params()["teacher"] is distiller.teacher
        assert SECRET not in as_teacher(teacher).display_name
        assert SECRET not in as_teacher(teacher).identity


def test_a_client_with_predict_is_named():
    """An estimator that is none of scikit-learn's shows its class."""
    teacher = EstimatorTeacher(Model(SECRET))
    assert SECRET not in repr(teacher) + teacher._repr_html_()
    assert "Model" in repr(teacher)


def test_messages_name_types():
    """What cannot be asked is named by its type, for its repr may show keys."""

    @dataclasses.dataclass
    class Keys:
        api_key: str

    with pytest.raises(TeacherError) as caught:
        as_teacher(Keys(SECRET))
    assert SECRET not in str(caught.value)
    assert "Keys" in str(caught.value)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (functools.partial(functools.partial(ask, 1), 2), "ask"),
        (CLIENT.label, "Client.label"),
        (CLIENT, "Client"),
        (Client, "Client"),
        (len, "builtins.len"),
        (str.lower, "str.lower"),
        (np.add, "ufunc"),
    ],
)
def test_names(obj, expected):
    """A partial is named by its function, an object by its class."""
    assert qualified_name(obj).endswith(expected)


def test_an_estimator_is_written_without_its_partials():
    """A step that embeds by an API shows the function's name."""
    step = FunctionTransformer(functools.partial(ask, api_key=SECRET), kw_args={"b": 1})
    text = text_of(make_pipeline(step, LogisticRegression(C=3.0)))
    assert SECRET not in text
    assert "ask" in text
    assert "LogisticRegression(C=3.0)" in text
    assert text_of(3) == "3"
    assert len(text_of(FunctionTransformer(kw_args={"a": "b" * 9999}))) == 700


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Incorrect API key provided: sk-proj-a1B2c3D4e5F6g7.", "provided: sk-***"),
        ("401 for url 'https://h/v1?key=abcdef123&n=1'", "?key=***&n=1'"),
        ("{'api_key': 'abcdef123'}", "{'api_key': '***'}"),
        ("headers: Authorization: Bearer eyJhbGciOi.J9", "Authorization: Bearer ***"),
        ("postgresql://me:hunter22@db/labels", "//me:***@db/labels"),
        ("token=0123456789abcdef", "token=***"),
        ("hf_0123456789abcdef was revoked", "hf_*** was revoked"),
        ("KeyError: 'choices'", "KeyError: 'choices'"),
        ("Unexpected token '<' in line 1", "Unexpected token '<' in line 1"),
        ("sk-learn is a package", "sk-learn is a package"),
    ],
)
def test_messages_of_clients_show_no_keys(said, shown):
    """A value named as a key, a bearer token, a known prefix, a password in a URL."""
    message = message_of(ValueError(said))
    assert shown in message
    for secret in ("a1B2c3", "abcdef123", "eyJ", "hunter22", "0123456789"):
        assert secret not in message
