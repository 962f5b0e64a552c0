"""Importing the package loads little, and torch only comes with a network."""

import json
import pkgutil
import subprocess
import sys

import pytest

import skadistill

HEAVY = ("torch", "skorch", "tqdm", "matplotlib", "onnx", "skactiveml", "openai")

TEXTS = """
import skadistill
from skadistill import ActiveDistiller
texts = [f"good film {i}" if i % 2 else f"bad film {i}" for i in range(80)]
model = ActiveDistiller(
    lambda X: ["pos" if t.startswith("good") else "neg" for t in X],
    classes=["neg", "pos"], budget=20, random_state=0,
).fit(texts)
assert model.predict(["good one"]) == ["pos"]
"""
TABLE = """
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from skadistill import ActiveDistiller
X, y = load_iris(return_X_y=True)
ActiveDistiller(
    RandomForestClassifier(5), LogisticRegression(max_iter=1000), budget=20,
).fit(X[::5], y[::5], X_unlabeled=X)
"""
OTHERS = """
from skadistill import ChatTeacher, AsyncTeacher, LabelLedger, PartiallyLabeledSplit
from skadistill.deploy import Cascade
from skadistill.objectives import SLaM, LELP
"""


def loaded_after(code):
    """Return the packages that a new process has loaded after some lines."""
    lines = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, check=True
    )
    return set(json.loads(out.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", [TEXTS, TABLE, OTHERS], ids=["texts", "table", "rest"])
def test_without_a_network_torch_is_not_loaded(code):
    """Neither by importing names, nor by fits whose student is scikit-learn's."""
    assert loaded_after(code).isdisjoint(HEAVY)


def test_the_package_alone_loads_nothing():
    """Not even scikit-learn: names are imported when they are used."""
    loaded = loaded_after("import skadistill")
    assert loaded.isdisjoint({*HEAVY, "sklearn", "numpy", "sqlite3", "pandas"})


@pytest.mark.parametrize("package", ["skadistill", "skadistill.student"])
def test_lazy_names_are_found(package):
    """All of them, by dir() and by import, in a process that has not used them yet."""
    code = f"""
import {package} as package
assert set(package.__all__) <= set(dir(package)), dir(package)
from {package} import *
for name in package.__all__:
    assert name in globals(), name
"""
    assert "torch" in loaded_after(code)


def test_folders_are_found_without_an_import_of_their_own():
    """As those of scikit-learn; and each public folder is listed."""
    folders = {
        module.name
        for module in pkgutil.iter_modules(skadistill.__path__)
        if not module.name.startswith("_")
    }
    assert folders <= set(dir(skadistill))
    loaded_after("import skadistill\nskadistill.datasets.make_noisy_teacher_problem")


def test_other_names_are_unknown():
    """As of any module."""
    with pytest.raises(AttributeError, match="'skadistill' has no attribute 'Nothing'"):
        _ = skadistill.Nothing
