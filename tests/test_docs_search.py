"""Questions lead to the page that answers them, by the search of the built pages."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest

import skadistill

ROOT = Path(skadistill.__file__).parents[1]
MADE = ("_build", "assembled", "auto_examples", "reference", "results")

QUESTIONS = {
    "anthropic claude": "faq",
    "azure openai": "faq",
    "ollama": "faq",
    "gemini": "faq language_models",
    "several teachers": "faq",
    "multi-label": "faq",
    "regression": "faq",
    "windows": "faq",
    "gpu": "faq scale",
    "privacy": "faq",
    "pickle": "faq export",
    "notebook": "faq",
    "how much will it cost": "faq labels",
    "save model": "faq export",
    "resume": "faq labels",
    "batch api": "faq language_models",
    "rate limit": "labels",
    "timeout": "labels",
    "budget": "labels",
    "class imbalance": "bad_accuracy",
    "low accuracy": "bad_accuracy",
    "wrong labels": "bad_accuracy objectives_noisy",
    "review labels by hand": "bad_accuracy",
    "confidence interval": "progress",
    "early stopping": "progress",
    "fastapi": "export serve",
    "onnx": "export",
    "docker": "export serve",
    "which strategy": "choosing",
    "dataframe": "quickstart_table",
    "spam": "quickstart_llm",
    "custom query strategy": "write_your_own",
    "progress bar": "watching",
    "hugging face": "students",
    "snorkel": "why_not",
    "am i allowed to train": "terms_of_use faq",
}
SHOWN = 3


def split_query(query):
    return [word for word in re.split(r"[^\w]+", query) if word]


def includes(name, query):
    """Tell whether a query is at least half of a title or an index entry."""
    return query in name.lower().strip() and len(query) >= len(name) / 2


def js_round(value):
    return math.floor(value + 0.5)


def as_list(found):
    return found if isinstance(found, list) else [found]


def search(index, query, language):
    """Rank pages as `searchtools.js` of Sphinx does, the best one first.

    Left out: words to exclude, and scorers of one's own.
    """
    docs, titles = index["docnames"], index["titles"]
    lower = query.lower().strip()
    results, others = [], []
    for title, places in index["alltitles"].items():
        if includes(title, lower):
            for file, _ in places:
                score = js_round(15 * len(lower) / len(title))
                name = title if titles[file] == title else f"{titles[file]} > {title}"
                results.append((score + (titles[file] == title), name, docs[file]))
    for entry, places in index["indexentries"].items():
        if lower in entry and len(lower) >= len(entry) / 2:
            for file, _, is_main in places:
                score = js_round(100 * len(lower) / len(entry))
                target = results if is_main else others
                target.append((score, titles[file], docs[file]))
    words = set(split_query(lower))
    for word in words:
        results += find_objects(index, word, words - {word})
    stems = {
        language.stem(word)
        for word in words
        if word not in language.stopwords and not word.isdigit()
    }
    results += find_terms(index, stems)
    ranked = []
    for group in (results, others):
        for _, _, doc in sorted(group, key=lambda r: (-r[0], r[1].lower())):
            ranked.append(doc)
    return list(dict.fromkeys(ranked))


def find_objects(index, word, others):
    """Score names of the reference."""
    for prefix, objects in index["objects"].items():
        for file, kind, priority, _, name in objects:
            full = f"{prefix}.{name}".lower() if prefix else name.lower()
            if word not in full:
                continue
            last = full.split(".")[-1]
            score = 11 if word in (full, last) else 6 if word in last else 0
            title = index["titles"][file]
            described = f"{prefix} {name} {index['objnames'][str(kind)][2]} {title}"
            if all(other in described.lower() for other in others):
                score += {0: 15, 1: 5, 2: -5}.get(priority, 0)
                yield score, full, index["docnames"][file]


def find_terms(index, stems):
    """Score pages by the words of their text and titles."""
    scores: dict = {}
    for word in stems:
        found = []
        for kind, exact, partial in (("terms", 5, 2), ("titleterms", 15, 7)):
            listed = index[kind]
            if word in listed:
                found.append((exact, listed[word]))
            elif len(word) > 2:
                found += [(partial, listed[term]) for term in listed if word in term]
        # As in Sphinx: exact matches of both kinds first, then the partial ones.
        found.sort(key=lambda match: match[0] in (2, 7))
        for score, files in found:
            for file in as_list(files):
                scores.setdefault(file, {})[word] = score
    long = {word for word in stems if len(word) > 2}
    for file, by_word in scores.items():
        if len(by_word) in (len(stems), len(long)):
            yield (
                max(by_word.values()),
                index["titles"][file],
                index["docnames"][file],
            )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Build the pages and read their index, without the output of examples."""
    pytest.importorskip("pydata_sphinx_theme")
    sphinx_build = pytest.importorskip("sphinx.cmd.build")
    if not (ROOT / "docs").exists():
        pytest.skip("the documentation is not part of an installed package")
    root = tmp_path_factory.mktemp("search")
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns(*MADE))
    for folder in ("benchmarks", "examples", "skadistill"):
        (root / folder).symlink_to(ROOT / folder)
    given = ["-q", "-D", "plot_gallery=0", str(root / "docs"), str(root / "html")]
    assert sphinx_build.main(given) == 0
    text = (root / "html" / "searchindex.js").read_text(encoding="utf8")
    return json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))


@pytest.fixture(scope="module")
def language():
    """Stem words as the browser does."""
    return pytest.importorskip("sphinx.search.en").SearchEnglish({})


def test_the_search_ranks_as_the_browser_does(language):
    """Main index entries, titles, names, words, and other entries, in this order."""
    index = {
        "docnames": ["text", "title", "entry", "other", "name"],
        "titles": ["A", "Ledgers", "C", "D", "E"],
        "alltitles": {"Ledgers": [[1, None]]},
        "indexentries": {"ledgers": [[2, "x", True], [3, "x", False]]},
        "objects": {"pkg": [[4, 0, 1, "", "ledgers"]]},
        "objnames": {"0": ["py", "class", "Python class"]},
        "terms": {"ledger": [0, 1], "file": 0},
        "titleterms": {"ledger": 1},
    }
    found = search(index, "Ledgers", language)
    assert found == ["entry", "title", "name", "text", "other"]
    assert search(index, "ledgers file", language) == ["text"]
    assert search(index, "ledgers nowhere", language) == []
    assert search(index, "edg", language) == ["name", "title", "text"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_leads_to_its_page(question, index, language):
    """The page that answers it is among the first three."""
    found = search(index, question, language)[:SHOWN]
    assert set(QUESTIONS[question].split()) & set(found), found
