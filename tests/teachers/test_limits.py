"""The limits that teachers behind an API share."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from skadistill import AsyncTeacher, ChatTeacher
from skadistill.llm import BatchTeacher, DecisionTeacher
from skadistill.teachers import Limits

CLASSES = ["ham", "spam"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrency", 2.5),
        ("max_concurrency", 0),
        ("max_tries", None),
        ("max_tries", 0),
        ("timeout", None),
        ("timeout", 0),
        ("backoff", -1),
        ("requests_per_minute", 0),
        ("tokens_per_minute", "many"),
    ],
)
def test_a_wrong_limit_is_refused_where_it_is_written(name, value):
    """By name, with the value, before there is a teacher."""
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of Limits"):
        Limits(**{name: value})


def test_limits_are_values():
    """Equal when written alike, unchangeable, and the same after a pickle."""
    limits = Limits(max_tries=np.int64(3), timeout=5)
    assert limits == Limits(timeout=5.0, max_tries=3)
    assert pickle.loads(pickle.dumps(limits)) == limits
    with pytest.raises(FrozenInstanceError):
        limits.timeout = 3


@pytest.mark.parametrize("kind", [ChatTeacher, DecisionTeacher])
def test_teachers_take_limits_like_any_parameter(kind):
    """`get_params`, `set_params`, `clone` and `repr` know them."""
    limits = Limits(timeout=5.0)
    teacher = kind("http://127.0.0.1:9", "m", CLASSES, "Spam?", limits=limits)
    assert teacher.get_params()["limits"] is limits
    assert "timeout=5.0" in repr(teacher)
    assert clone(teacher).limits == limits
    assert teacher.set_params(limits=None).claim_size == 64 * 16


def test_a_batch_takes_the_limits_of_its_chat_teacher():
    """Unless it has its own."""
    chat = ChatTeacher(
        "http://127.0.0.1:9", "m", CLASSES, "Spam?", limits=Limits(max_tries=2)
    )
    assert BatchTeacher(chat).max_tries == 2
    assert BatchTeacher(chat, limits=Limits(max_tries=9)).max_tries == 9
    assert BatchTeacher((len, len)).max_tries == 6


def test_what_is_no_limits_is_refused():
    """Before anything is asked."""
    with pytest.raises(InvalidParameterError, match="'limits' parameter of Async"):
        AsyncTeacher(len, limits={"timeout": 3}).ask(["x"], CLASSES)
