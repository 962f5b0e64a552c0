"""Docstrings of the public classes name every parameter, with its default."""

import ast
import inspect
import math
import re

import pytest

import skadistill
import skadistill.callbacks
import skadistill.checking
import skadistill.datasets
import skadistill.deploy
import skadistill.export
import skadistill.labeling
import skadistill.ledger
import skadistill.llm
import skadistill.model_selection
import skadistill.objectives
import skadistill.plotting
import skadistill.query
import skadistill.query.game
import skadistill.search
import skadistill.stopping
import skadistill.student
import skadistill.teachers
import skadistill.testing

ROOMS = [
    skadistill,
    skadistill.query,
    skadistill.query.game,
    skadistill.student,
    skadistill.teachers,
    skadistill.model_selection,
    skadistill.datasets,
    skadistill.deploy,
    skadistill.callbacks,
    skadistill.checking,
    skadistill.export,
    skadistill.labeling,
    skadistill.ledger,
    skadistill.llm,
    skadistill.stopping,
    skadistill.objectives,
    skadistill.search,
    skadistill.plotting,
    skadistill.testing,
]
PUBLIC = {
    f"{obj.__module__}.{obj.__qualname__}": obj
    for room in ROOMS
    for name in room.__all__
    if callable(obj := getattr(room, name, None))
    and not (isinstance(obj, type) and issubclass(obj, Exception))
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_documented_defaults_are_those_of_the_signature(name):
    """``default=...`` in a docstring is what the signature says."""
    obj = PUBLIC[name]
    documented = dict(
        re.findall(r"^    (\w+) : .*?default=(.+?)$", obj.__doc__ or "", re.MULTILINE)
    )
    for parameter in inspect.signature(obj).parameters.values():
        if parameter.name not in documented:
            continue
        said, default = documented[parameter.name].strip("`"), parameter.default
        if isinstance(default, type):
            assert said.split(".")[-1] == default.__name__
        elif isinstance(default, float) and math.isnan(default):
            assert said.split(".")[-1] == "nan"
        else:
            assert ast.literal_eval(said) == default
