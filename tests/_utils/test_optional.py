import re
import sys
import tomllib
from pathlib import Path

import pytest

import skadistill
from skadistill._utils.optional import require

ROOT = Path(skadistill.__file__).parent
PYPROJECT = ROOT.parent / "pyproject.toml"


def test_require_returns_the_module():
    """A submodule is returned itself, not its package."""
    assert require("xml.dom", "export") is sys.modules["xml.dom"]


def test_require_names_package_reason_and_extra(monkeypatch):
    """One sentence names the missing package, the reason and the extra."""
    monkeypatch.setitem(sys.modules, "skops.card", None)
    message = (
        r"^importing the optional package skops failed \(.*skops\.card.*\); run "
        r'`pip install "skadistill\[export\]"`\.$'
    )
    with pytest.raises(ImportError, match=message) as caught:
        require("skops.card", "export")
    assert caught.value.name == "skops"


@pytest.mark.skipif(not PYPROJECT.exists(), reason="needs the sources")
def test_required_packages_belong_to_their_extras():
    """Each extra named in a call of `require` installs the package named there."""
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf8"))["project"][
        "optional-dependencies"
    ]
    calls = {
        call
        for path in ROOT.rglob("*.py")
        for call in re.findall(
            r'require\(\s*"([\w.]+)", "(\w+)"', path.read_text(encoding="utf8")
        )
    }
    calls.discard(("json", "plotting"))  # the example in the docstring
    assert calls
    # Modules whose package has another name.
    names = {"skactiveml": "scikit_activeml", "distributed": "dask"}
    for module, extra in calls:
        package = module.partition(".")[0]
        package = names.get(package, package)
        installed = [re.match(r"[\w-]+", line)[0] for line in extras[extra]]
        assert package in [name.replace("-", "_") for name in installed], module
