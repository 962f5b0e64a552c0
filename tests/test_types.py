"""Type checkers accept what users write, and refuse what is wrong."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skadistill

ROOT = Path(skadistill.__file__).parents[1]

needs_sources = pytest.mark.skipif(
    not (ROOT / "README.md").exists(), reason="needs the sources"
)

PROGRAM = '''
"""A program of a user: own strategy, teacher and objective."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from skadistill import ActiveDistiller, LabelLedger
from skadistill.deploy import certify_agreement
from skadistill.objectives import Evidence, Lesson, Objective
from skadistill.query import QueryPool, QueryStrategy, top_rows
from skadistill.stopping import TargetAgreement


class Halves(QueryStrategy):
    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def query(
        self, pool: QueryPool, n_queries: int, random_state: np.random.Generator
    ) -> NDArray[Any]:
        scores = pool.map_proba(lambda proba: -proba.max(axis=1))
        scores[random_state.random(pool.n_samples) > self.share] = -1.0
        return top_rows(scores, n_queries, random_state)


class Heavier(Objective):
    def transform(self, lesson: Lesson, evidence: Evidence) -> Lesson:
        weights: NDArray[Any] = np.where(evidence.given, 2.0, 1.0)
        return lesson.replace(weights=weights)


def teacher(X: NDArray[Any]) -> NDArray[Any]:
    return (X[:, 0] > 0).astype(int)


def main(X: NDArray[Any], y: NDArray[Any], pool: NDArray[Any]) -> float:
    distiller = ActiveDistiller(
        teacher,
        LogisticRegression(),
        budget=None,
        query_strategy=Halves(0.3),
        objective=Heavier(),
        ledger=LabelLedger("labels.sqlite", max_rows=100),
        stopping_criterion=TargetAgreement(0.9),
    )
    print(distiller.plan(X, y, cost_per_row=0.1).cost)
    fitted: ActiveDistiller = distiller.fit(X, y, X_unlabeled=pool)
    paid: int = fitted.n_paid_
    money: float | None = fitted.cost_
    certificate = certify_agreement(fitted, pool, target=0.9)
    print(paid, money, bool(certificate), fitted.history_[0]["n_asked"])
    return fitted.score(X, y)
'''

WRONG = {
    "ActiveDistiller(print, budget='all')": "budget",
    "ActiveDistiller(print, query_strategy=3)": "query_strategy",
    "ActiveDistiller(print, objective=object())": "objective",
    "ActiveDistiller(print).n_paid": "n_paid",
    "ActiveDistiller(print).plan([[0]], cost_per_row='1')": "cost_per_row",
}


def public_names():
    """Map the full names of what users import to the objects."""
    found = {}
    for path in sorted(Path(skadistill.__file__).parent.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if any(part[0] == "_" and part != "__init__" for part in parts):
            continue
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for name in module.__all__:
            if callable(getattr(module, name)):
                found[f"{module.__name__}.{name}"] = getattr(module, name)
    return found


NAMES = public_names()


def functions_of(obj):
    """Yield a function, or the constructor, methods and properties of a class."""
    if not isinstance(obj, type):
        yield obj.__name__, obj
        return
    for owner in obj.__mro__:
        if not owner.__module__.startswith("skadistill"):
            continue
        declared = inspect.get_annotations(owner)
        for name, value in vars(owner).items():
            if name in declared:
                continue
            for inside in ("fget", "__func__", "func", "fn"):
                value = getattr(value, inside, None) or value
            public = name[0] != "_" or name in ("__init__", "__call__", "__len__")
            if public and inspect.isfunction(value):
                # What dataclasses write has the types of the fields.
                if value.__code__.co_filename.startswith("<"):
                    continue
                yield f"{owner.__name__}.{name}", inspect.unwrap(value)


def unannotated(obj):
    """Return the parameters and results without a type, as function(parameter)."""
    found = []
    for name, function in functions_of(obj):
        if not function.__module__.startswith("skadistill"):
            continue
        signature = inspect.signature(function)
        missing = [
            parameter.name
            for parameter in list(signature.parameters.values())
            if parameter.annotation is parameter.empty
            and parameter.name not in ("self", "cls")
        ]
        if signature.return_annotation is signature.empty:
            missing.append("return")
        found += [f"{name}({parameter})" for parameter in missing]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_public_function_and_method_is_annotated(name):
    """Parameters and results have types, inherited ones of the package too."""
    assert unannotated(NAMES[name]) == []


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, obj in NAMES.items()
        if "\n    Attributes\n" in (obj.__doc__ or "")
    ],
)
def test_fitted_attributes_are_declared(name):
    """Each attribute in the docstring is declared, a property, or a parameter."""
    found = NAMES[name]
    text = inspect.cleandoc(found.__doc__ or "")
    _, _, section = text.partition("Attributes\n----------\n")
    section = re.split(r"^.+\n-{3,}$", section, flags=re.M)[0]
    lines = re.findall(r"^([\w, ]+) : ", section, flags=re.M)
    told = {attribute for line in lines for attribute in line.split(", ")}
    known = set(dir(found)) | set(inspect.signature(found).parameters)
    for owner in found.__mro__:
        known |= set(inspect.get_annotations(owner))
    assert told - known == set()


def test_a_missing_type_is_found():
    """Of a parameter, of a result, and of a property."""

    class Example:
        def __init__(self, a: int, b=1) -> None:
            pass

        @property
        def c(self):
            return 1

        def _private(self, d):
            pass

    Example.__module__ = "skadistill.example"
    for name in ("__init__", "_private"):
        getattr(Example, name).__module__ = "skadistill.example"
    Example.c.fget.__module__ = "skadistill.example"
    assert unannotated(Example) == ["Example.__init__(b)", "Example.c(return)"]


def mypy(folder, *options):
    """Return what mypy says about the files of a folder, without the package's own."""
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", *options]
    command += ["--config-file", "", "--follow-imports", "silent", "."]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


@pytest.mark.slow
@needs_sources
def test_a_program_of_a_user_passes_the_strict_checks(tmp_path, monkeypatch):
    """So do the lines of the README, with the names that they leave to the reader."""
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf8")
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) >= 2
    names = "texts: list[str] = []\ny: list[str | None] = []\n"
    for number, block in enumerate(blocks):
        (tmp_path / f"readme{number}.py").write_text(names + block, encoding="utf8")
    assert mypy(tmp_path, "--strict") == []


@pytest.mark.slow
@needs_sources
def test_examples_pass_the_checks(tmp_path, monkeypatch):
    """Strictly, but for their own functions, which have no annotations."""
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    for path in (ROOT / "examples").glob("plot_*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    options = ["--allow-untyped-defs", "--allow-incomplete-defs"]
    assert mypy(tmp_path, "--strict", "--allow-untyped-calls", *options) == []


@pytest.mark.slow
@needs_sources
def test_wrong_lines_are_refused(tmp_path, monkeypatch):
    """Each of them, with the name of what is wrong."""
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    lines = ["from skadistill import ActiveDistiller", *WRONG]
    (tmp_path / "wrong.py").write_text("\n".join(lines) + "\n", encoding="utf8")
    errors = mypy(tmp_path)
    for number, (line, word) in enumerate(WRONG.items(), start=2):
        found = [error for error in errors if f"wrong.py:{number}:" in error]
        assert found, line
        assert word in found[0]
