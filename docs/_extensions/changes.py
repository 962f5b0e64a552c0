"""The changelog, assembled from the fragments in ``docs/changes``.

The documentation shows fragments as "Not released yet". For a release,

    python docs/_extensions/changes.py

moves them into ``docs/changelog.rst``, below the version in ``pyproject.toml``, and
deletes them. If that version has a section already, they are added to it.
"""

import argparse
import datetime
import re
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
KINDS = {"new": "New", "fixed": "Fixed", "breaking": "Breaking"}


def fragments(folder):
    """Return the entries of the changelog by their kind, in the order of KINDS."""
    entries = {}
    for kind in KINDS:
        for path in sorted(folder.glob(f"*.{kind}.rst")):
            lines = path.read_text(encoding="utf8").strip().splitlines()
            entry = "\n".join(f"  {line}".rstrip() for line in lines)
            entries.setdefault(kind, []).append("-" + entry[1:])
    return entries


def unreleased(folder):
    """Return a section with all fragments; nothing if there are none."""
    entries = fragments(folder)
    if not entries:
        return ""
    return add("", "Not released yet", entries)


def add(text, title, entries):
    """Add entries to the section of this title, which is made if it is missing."""
    before, section, after = split(text, title)
    # Text before the first kind stays there.
    parts = re.split(r"^(\w+)\n~+\n", section, flags=re.M)
    head, found = parts[0].strip(), dict(zip(parts[1::2], parts[2::2], strict=True))
    blocks = [underlined(title, "-")] + [head] * bool(head)
    for kind, name in KINDS.items():
        items = [found.get(name, "").strip(), *entries.get(kind, [])]
        if any(items):
            blocks += [underlined(name, "~"), *filter(None, items)]
    parts = [before.strip(), "\n\n".join(blocks), after.strip()]
    return "\n\n".join(filter(None, parts)) + "\n"


def split(text, title):
    """Cut a changelog into what comes before a section, its body, and the rest.

    Titles are compared up to the date in brackets. A new section comes first of all.
    """
    headings = list(re.finditer(r"^(\S.*)\n-{3,}\n", text, flags=re.M))
    name = title.split(" (")[0]
    starts = [heading.start() for heading in headings] + [len(text)]
    for heading, end in zip(headings, starts[1:], strict=True):
        if heading[1].split(" (")[0] == name:
            return text[: heading.start()], text[heading.end() : end], text[end:]
    return text[: starts[0]], "", text[starts[0] :]


def underlined(title, sign):
    """Return a heading."""
    return f"{title}\n{sign * len(title)}"


def release(docs, version, date):
    """Move all fragments into the changelog; return how many there were."""
    entries = fragments(docs / "changes")
    page = docs / "changelog.rst"
    text = page.read_text(encoding="utf8")
    page.write_text(add(text, f"{version} ({date})", entries), encoding="utf8")
    paths = [p for kind in KINDS for p in (docs / "changes").glob(f"*.{kind}.rst")]
    for path in paths:
        path.unlink()
    return len(paths)


def main():
    """Release the fragments as the version in ``pyproject.toml``."""
    with (DOCS.parent / "pyproject.toml").open("rb") as stream:
        version = tomllib.load(stream)["project"]["version"]
    today = datetime.date.today().isoformat()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default=today, help="date of the release: today")
    given = parser.parse_args()
    n_fragments = release(DOCS, version, given.date)
    print(f"{n_fragments} fragments moved into docs/changelog.rst, version {version}")


if __name__ == "__main__":
    main()
