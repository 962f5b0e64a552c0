"""Run tests with the least and the newest supported versions of every dependency.

The least versions are the lower bounds in ``pyproject.toml``, those of pandas and
pyarrow included, since newer ones refuse an old numpy. Each set is installed into a
separate folder, which is put before everything else that is installed; other packages,
pytest among them, come from the environment that runs this script. torch is gigabytes
large and is left as it is unless ``--torch`` is given.

    python benchmarks/supported_versions.py
    python benchmarks/supported_versions.py --torch tests      # all tests, torch too
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from _common import machine_lines, markdown_table, save_result
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    "tests/query",
    "tests/_fit",
    "tests/model_selection",
    "tests/test_distiller.py",
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


def install(folder, requirements):
    """Install into a folder."""
    command = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*command, "--target", folder, *requirements], check=True)


def run_tests(folder, names, tests):
    """Return the versions that were imported, and the last line of pytest."""
    path = os.pathsep.join([folder, str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", VERSIONS, *names]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # scikit-learn 1.6 hands pytest generators, of which newer pytests warn.
    command += ["-W", "ignore:Passing a non-Collection iterable", *tests]
    tested = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    print(tested.stdout[-6000:], tested.stderr[-2000:])
    last = tested.stdout.strip().splitlines()[-1] if tested.stdout.strip() else "none"
    return done.stdout.split(), re.sub(r"=+ ?| ?in [\d.]+s.*", "", last)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", default=TESTS)
    parser.add_argument("--torch", action="store_true", help="change torch, too")
    parser.add_argument("--only", choices=("least", "newest"), help="run one set")
    parser.add_argument("--keep", action="store_true", help="keep the result")
    given = parser.parse_args()
    bounds = required()
    changed = {n: b for n, b in bounds.items() if given.torch or n != "torch"}
    rows = []
    for title, requirements in {
        "least": [f"{name}=={bound}" for name, bound in changed.items()],
        "newest": list(changed),
    }.items():
        if given.only not in (None, title):
            continue
        with tempfile.TemporaryDirectory() as folder:
            install(folder, requirements)
            versions, outcome = run_tests(folder, bounds, given.tests)
        rows.append([title, *versions, outcome])
    text = "\n\n".join(
        [
            "# Supported versions",
            "Made by `benchmarks/supported_versions.py`: the tests "
            + ", ".join(f"`{test}`" for test in given.tests)
            + " with the least and the newest versions of the required dependencies"
            + (", except torch." if not given.torch else "."),
            markdown_table(["versions", *bounds, "pytest"], rows),
            "  \n".join(machine_lines()),
        ]
    )
    if given.keep:
        save_result("supported_versions.md", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
