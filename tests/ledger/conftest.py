import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest


def find_programs():
    """Return the folder of PostgreSQL's programs, None where they are missing."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    for folder in [*debian, *([Path(found).parent] if found else [])]:
        if (folder / "pg_ctl").exists():
            return folder
    return None


@pytest.fixture(scope="session")
def postgres_url():
    """Run a PostgreSQL server of our own while the tests last."""
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed")
    # Not below pytest's own folders, which only their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="skadistill-postgres-"))
    user = None
    if os.geteuid() == 0:  # which the server refuses to run as
        user = "postgres"
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program, *args):
        subprocess.run(
            [programs / program, "-D", folder / "data", *args],
            check=True,
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )

    try:
        run("initdb", "-A", "trust", "-U", "tester", "--no-sync")
        options = f"-p {port} -k {folder} -c fsync=off -c listen_addresses=127.0.0.1"
        run("pg_ctl", "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.sqlite"
