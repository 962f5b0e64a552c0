"""What is released: an sdist, the wheel made of it, and that wheel alone at work."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

import skadistill

ROOT = Path(skadistill.__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="needs the sources"
)

BUILD = (
    "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
)

# Run where nothing is but the wheel and what it declares to need.
USE = """
import importlib, importlib.metadata, importlib.util, pkgutil, sys
from pathlib import Path
import skadistill

home = Path(skadistill.__file__).parent
assert home.is_relative_to(sys.prefix), home
assert (home / "py.typed").exists()
assert importlib.metadata.version("skadistill") == skadistill.__version__
assert not importlib.util.find_spec("pytest")
# Imported on demand, once onnx or scikit-activeml is there.
lazy = {
    "skadistill.export._columns",
    "skadistill.export._graphs",
    "skadistill.export._nodes",
    "skadistill.export._texts",
    "skadistill.export._trees",
    "skadistill.query._skactiveml",
}
for module in pkgutil.walk_packages([str(home)], "skadistill."):
    if module.name not in lazy:
        importlib.import_module(module.name)

problem = skadistill.datasets.make_noisy_teacher_problem(
    n_labeled=50, n_pool=200, n_test=200, random_state=0
)
distiller = skadistill.ActiveDistiller(problem.teacher, budget=50, query_size=50)
distiller.fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)
assert distiller.n_paid_ == 50
assert distiller.score(problem.X_test, problem.y_test) > 0.6
print("used", skadistill.__version__)
"""


def run(*command, cwd):
    # What PYTHONPATH leads to would count as installed.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Build an sdist of a copy of the sources, and a wheel of that sdist."""
    folder = tmp_path_factory.mktemp("release")
    made = ("build", "dist", "_build", "auto_examples", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(".*", *made))
    run(sys.executable, "-c", BUILD.format("sdist"), folder, cwd=folder / "copy")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        # Python 3.11.4 is the first of its line that has filters.
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder / "unpacked", **safe)
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", BUILD.format("wheel"), folder, cwd=unpacked)
    (wheel,) = folder.glob("*.whl")
    return SimpleNamespace(folder=folder, unpacked=unpacked, wheel=wheel)


def test_all_places_name_the_same_version():
    """pyproject.toml, the package, the citation; once assembled, the changelog."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == skadistill.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {skadistill.__version__}\n" in citation
    if list((ROOT / "docs" / "changes").glob("*.rst")):
        return
    page = (ROOT / "docs" / "changelog.rst").read_text()
    newest = re.search(r"^(\S+) \((\S+)\)\n---", page, re.M)
    day = re.search(r'^date-released: "(\S+)"$', citation, re.M)
    assert newest.groups() == (skadistill.__version__, day[1])


def test_a_release_without_addresses_is_refused():
    """Placeholders in [project.urls] must not reach an index."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    if not any("example.org" in url for url in urls.values()):
        return
    done = subprocess.run(
        ["make", "-o", ".venv/.release", "dist"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "set [project.urls] first" in done.stdout


def sources(folder):
    """List the files of the package below a folder."""
    return {
        path.relative_to(folder).as_posix()
        for path in (folder / "skadistill").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_sdist_holds_what_a_build_needs(release):
    """Every file of the package, and those that the metadata points to."""
    assert sources(release.unpacked) == sources(ROOT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        assert (release.unpacked / name).read_bytes() == (ROOT / name).read_bytes()
    assert release.unpacked.name == f"skadistill-{skadistill.__version__}"


def test_the_wheel_holds_the_package_and_nothing_else(release):
    """No tests, no benchmarks, no examples; the license, the marker of types."""
    with zipfile.ZipFile(release.wheel) as archive:
        names = set(archive.namelist())
        info = f"skadistill-{skadistill.__version__}.dist-info/"
        license = archive.read(f"{info}licenses/LICENSE")
    ours = {name for name in names if not name.startswith(info)}
    assert ours == sources(ROOT)
    assert "skadistill/py.typed" in ours
    assert license == (ROOT / "LICENSE").read_bytes()


def requirements_of(distribution, found):
    """Add the names of the distributions that one needs, and theirs, to those found."""
    for line in distribution.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        wanted = marker is None or marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            found.add(requirement.name)
            needed = importlib.metadata.distribution(requirement.name)
            requirements_of(needed, found)
    return found


def lend(name, folder):
    """Link an installed distribution into another environment."""
    distribution = importlib.metadata.distribution(name)
    # Two levels deep, since distributions may share a folder.
    for path in {Path(*file.parts[:2]) for file in distribution.files}:
        if path.parts[0] not in ("..", "__pycache__"):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).symlink_to(distribution.locate_file(path))


def test_the_wheel_works_where_nothing_else_is(release):
    """In an environment with what it declares to need, it installs and fits."""
    home = release.folder / "clean"
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    info = zipfile.Path(release.wheel, f"{release.unpacked.name}.dist-info/")
    for name in requirements_of(importlib.metadata.PathDistribution(info), set()):
        lend(name, packages)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-index")
    run(*pip, release.wheel, cwd=release.folder)
    # -I: neither the folder it runs in nor PYTHONPATH is searched.
    told = run(python, "-I", "-c", USE, cwd=release.folder)
    assert told == f"used {skadistill.__version__}\n"
