"""Every script of the benchmarks starts: it imports, reads options, and asks for data.

The scripts run in processes of their own: tests do not lean on them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
#: What a script may lack that a test machine need not have.
OPTIONAL = {
    "skactiveml",
    "matplotlib",
    "optuna",
    "openai",
    "mixle",
    "psycopg",
    "polars",
}
START = """
import contextlib, importlib, io, json, signal, sys
folder, names = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, folder)
found = {}

def late(*_):
    raise TimeoutError("it takes long to start")

signal.signal(signal.SIGALRM, late)
for name in names:
    noise = io.StringIO()
    with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
        try:
            signal.alarm(60)
            module = importlib.import_module(name)
            found[name] = ["imported", ""]
            if hasattr(module, "argparse"):
                sys.argv[:] = [name, "--help"]
                module.main()
        except ModuleNotFoundError as error:
            found[name] = ["lacks", error.name]
        except SystemExit as error:
            if error.code:
                found[name] = ["SystemExit", str(error)]
        except Exception as error:
            found[name] = [type(error).__name__, str(error)]
        finally:
            signal.alarm(0)
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def started():
    """Import all scripts in one process, and let them print their options."""
    run = subprocess.run(
        [sys.executable, "-c", START, str(FOLDER), json.dumps(SCRIPTS)],
        env={k: v for k, v in os.environ.items() if not k.startswith("SKADISTILL_")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_starts(started, name):
    """What it names in the package is there, and so are its options."""
    what, text = started[name]
    if what == "lacks" and text.partition(".")[0] in OPTIONAL:
        pytest.skip(f"{text} is not installed")
    assert what == "imported", text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variable", "options"),
    [
        ("default_student", "SKADISTILL_DATA", []),
        ("label_efficiency", "SKADISTILL_DATA", ["--quick"]),
        ("layernas_tables", "SKADISTILL_DATA", []),
        ("warm_start", "SKADISTILL_DATA", ["--quick"]),
        ("real_teachers", "SKADISTILL_ANSWERS", ["--quick"]),
    ],
)
def test_a_script_without_its_data_says_so(tmp_path, name, variable, options):
    """A sentence that names the variable to set, and nothing is written."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("SKADISTILL_")}
    run = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *options],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert variable in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
