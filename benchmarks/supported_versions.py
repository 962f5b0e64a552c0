"""Run tests with the least and the newest supported versions of every dependency.

The least versions are the lower bounds in ``pyproject.toml``, those of pandas and
pyarrow included, since newer ones refuse an old numpy. Each set is installed into a
folder below ``build/versions``, which is put before everything else that is installed;
other packages, pytest among them, come from the environment that runs this script.
torch is gigabytes large and is left as it is unless ``--torch`` is given.

Each folder of tests is a run of its own, which is kept in ``build/versions``: start the
script again to go on, remove that folder to start over.

    python benchmarks/supported_versions.py
    python benchmarks/supported_versions.py --only least tests/query
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from _common import machine_lines, markdown_table, remembered, save_result
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "versions"
# Export is left out: onnx needs a newer numpy than the least one.
TESTS = (
    "tests/query",
    "tests/objectives",
    "tests/student",
    "tests/teachers",
    "tests/labeling",
    "tests/ledger",
    "tests/_fit",
    "tests/_rows",
    "tests/model_selection",
    "tests/search",
    "tests/plotting",
    "tests/test_distiller.py",
    "tests/test_meta_estimators.py",
    "tests/test_estimator_checks.py",
)
VERSIONS = """
import importlib.metadata, sys
for name in sys.argv[1:]:
    print(importlib.metadata.version(name))
"""


def required():
    """Return the names of the dependencies, and their lower bounds."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project = tomllib.load(stream)["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["pandas"]
    bounds = {}
    for requirement in map(Requirement, lines):
        (bound,) = (s.version for s in requirement.specifier if s.operator == ">=")
        bounds[requirement.name] = bound
    return bounds


def installed(title, requirements):
    """Return the folder that holds these, which are installed if it is missing."""
    digest = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:8]
    folder = FOLDER / f"{title}-{digest}"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet"]
        subprocess.run([*command, "--target", folder, *requirements], check=True)
    return folder


def environment(folder):
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def versions_in(folder, names):
    command = [sys.executable, "-c", VERSIONS, *names]
    env = environment(folder)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def run_tests(folder, test, title):
    """Return the last line of pytest, without the time."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # scikit-learn 1.6 hands pytest generators, of which newer pytests warn.
    command += ["-W", "ignore:Passing a non-Collection iterable", test]
    # The installed dask needs a newer pyarrow than the least one: never found together.
    if title == "least":
        command += ["-k", "not dask"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(folder), capture_output=True, text=True
    )
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "none"
    return re.sub(r"=+ ?| ?in [\d.]+s.*", "", last)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", default=TESTS)
    parser.add_argument("--torch", action="store_true", help="change torch, too")
    parser.add_argument("--only", choices=("least", "newest"), help="run one set")
    given = parser.parse_args()
    bounds = required()
    changed = {n: b for n, b in bounds.items() if given.torch or n != "torch"}
    outcomes, versions = {}, []
    for title, requirements in {
        "least": [f"{name}=={bound}" for name, bound in changed.items()],
        "newest": list(changed),
    }.items():
        if given.only not in (None, title):
            continue
        folder = installed(title, requirements)
        found = versions_in(folder, bounds)
        versions.append([title, *found])
        outcomes[title] = [
            remembered(
                FOLDER / "runs.jsonl",
                [title, *found, test],
                lambda: run_tests(folder, test, title),  # noqa: B023
            )
            for test in given.tests
        ]
    text = "\n\n".join(
        [
            "# Supported versions",
            "Made by `benchmarks/supported_versions.py`: tests with the least and the "
            "newest versions of the required dependencies"
            + (", except torch." if not given.torch else "."),
            markdown_table(["versions", *bounds], versions),
            markdown_table(
                ["tests", *outcomes],
                [
                    list(row)
                    for row in zip(given.tests, *outcomes.values(), strict=True)
                ],
            ),
            "  \n".join(machine_lines()),
        ]
    )
    if given.only or tuple(given.tests) != TESTS:
        print(text)
    else:
        save_result("supported_versions.md", text)


if __name__ == "__main__":
    main()
