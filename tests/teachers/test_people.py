"""People label rows in a file: nothing is lost, and nothing asked twice."""

import csv
import io
import json
import multiprocessing
import os
import re
import signal
import time

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller
from skadistill.exceptions import JobPendingError, TeacherAnswerError, TeacherError
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger
from skadistill.teachers import FileTeacher
from skadistill.teachers._sheets import Sheet, cells_of, label_columns

CLASSES = ["ham", "spam"]
ODD = ["=1+1", "+49 30", "-x", "@me", "'=quoted", 'a "b", c;d', "one\ntwo", "ümläut 世"]
FORMATS = [".csv", ".tsv", ".jsonl", ".json", ".xlsx"]
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=FORMATS)
def path(request, tmp_path):
    if request.param == ".xlsx":
        pytest.importorskip("openpyxl")
    return tmp_path / f"to_label{request.param}"


def fill(path, label=lambda cells: "spam", n=None):
    """Do what a person does: write labels into empty cells, and save."""
    left = [n]

    def edit(records):
        for record in records:
            for column in label_columns(record) or ["label"]:
                if record.get(column) in (None, "") and left[0] != 0:
                    record[column] = label(record)
                    left[0] = None if left[0] is None else left[0] - 1
        return records

    if path.suffix != ".json":
        Sheet(path).change(edit)
        return
    tasks = json.loads(path.read_text())
    for task in [t for t in tasks if not t.get("annotations")][:n]:
        value = {"choices": [label(task["data"])]}
        result = [{"type": "choices", "from_name": "l", "to_name": "t", "value": value}]
        task["annotations"] = [{"completed_by": 7, "result": result}]
    path.write_text(json.dumps(tasks))


def buy(teacher, rows, ledger):
    return buy_labels(teacher, rows, classes=CLASSES, ledger=ledger)


def wait(teacher, rows, ledger):
    with pytest.raises(JobPendingError) as pending:
        buy(teacher, rows, ledger)
    return pending.value.purchase


def records(path):
    return Sheet(path).read()


def test_texts_come_back_as_they_were(path):
    """In every format, also those that a spreadsheet would compute."""
    teacher, ledger = FileTeacher(path), MemoryLedger()
    wait(teacher, ODD, ledger)
    assert sorted(r["text"] for r in records(path)) == sorted(ODD)
    fill(path, lambda cells: CLASSES[cells["text"] == "=1+1"])
    assert buy(teacher, ODD, ledger).labels[:, 1].tolist() == [1.0] + [0.0] * 7
    assert len(records(path)) == len(ODD)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_no_cell_is_a_formula(suffix, tmp_path):
    """Texts that a spreadsheet would compute are written behind an apostrophe."""
    path = tmp_path / f"to_label{suffix}"
    wait(FileTeacher(path), ODD, MemoryLedger())
    delimiter = "\t" if suffix == ".tsv" else ","
    text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
    cells = [cell for line in csv.reader(text, delimiter=delimiter) for cell in line]
    assert "'=1+1" in cells
    assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]


def test_xlsx_has_texts_and_no_formulas(tmp_path):
    """A text that begins with an equals sign stays a text for openpyxl, too."""
    openpyxl = pytest.importorskip("openpyxl")
    path = tmp_path / "to_label.xlsx"
    wait(FileTeacher(path), ODD, MemoryLedger())
    sheet = openpyxl.load_workbook(path).active
    assert {c.data_type for row in sheet for c in row if c.value is not None} == {"s"}


def as_libreoffice(rows):
    """Write what LibreOffice does: semicolons, no BOM, LF, numbers its way."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=";", lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        values = [str(v) for v in row.values()]
        writer.writerow(
            [re.sub(r"^(\d+)\.0$", r"\1", v).replace(".5", ",5") for v in values]
        )
    return file.getvalue().encode()


def as_pandas(rows):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(rows).to_csv(index=False).encode()


def as_excel(rows):
    """Excel's "Unicode text": UTF-16 and tabs."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0], delimiter="\t")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode("utf-16")


@pytest.mark.parametrize("save", [as_libreoffice, as_pandas, as_excel])
def test_programs_save_the_same_file_in_their_way(save, tmp_path):
    """Numbers in another form, and notes in a column more, are no changed texts."""
    pandas = pytest.importorskip("pandas")
    path, ledger = tmp_path / "to_label.csv", MemoryLedger()
    X = pandas.DataFrame({"text": ODD, "n": 1.0, "x": np.arange(8) + 0.5})
    wait(FileTeacher(path), X, ledger)
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    for row in rows:
        row["notes"] = "sure"
        row["label"] = " Ham" if "=" in row["text"] else "spam"
    path.write_bytes(save(rows))
    labels = buy(FileTeacher(path), X, ledger).labels
    assert labels[:, 0].tolist() == [float("=" in text) for text in ODD]


def test_ids_are_no_numbers():
    """A key of digits, or of digits around an "e", would become a number."""
    for key in ("1" * 32, "12345678901234567890123456789e12"):
        teacher = FileTeacher("unused.csv")
        assert teacher.classes_ is None
        name = f"row_{key}_00000000"
        with pytest.raises(ValueError, match="could not convert"):
            float(name)


def fit(path, ledger, rows, y, budget=20):
    student = make_pipeline(TfidfVectorizer(), LogisticRegression())
    teacher = FileTeacher(path, classes=CLASSES)
    distiller = ActiveDistiller(
        teacher, student, budget=budget, ledger=ledger, random_state=0, teacher_checks=0
    )
    return distiller.fit(rows, y)


def texts(n):
    return [f"{('win', 'hello')[i % 2]} number {i}" for i in range(n)]


def truth(cells):
    return "spam" if "win" in cells["text"] else "ham"


def given(n):
    y = np.array([-1] * n, dtype=object)
    y[:8] = ["spam", "ham"] * 4
    return y


def test_a_fit_waits_and_goes_on(path, tmp_path):
    """Labels that are there train the student; the others are waited for."""
    rows, ledger = texts(60), tmp_path / "labels.sqlite"
    first = fit(path, ledger, rows, given(60))
    assert (first.termination_condition_, first.n_queries_) == ("waiting", 0)
    asked = [r["id"] for r in records(path)]
    fill(path, truth, n=4)
    second = fit(path, ledger, rows, given(60))
    assert (second.termination_condition_, second.n_queries_) == ("waiting", 4)
    assert [r["id"] for r in records(path)] == asked
    for _ in range(4):
        fill(path, truth)
        last = fit(path, ledger, rows, given(60))
        if last.termination_condition_ != "waiting":
            break
    assert (last.termination_condition_, last.n_queries_) == ("budget", 20)
    ids = [r["id"] for r in records(path)]
    assert len(ids) == len(set(ids)) == 20
    assert LabelLedger(ledger).summary()["n_paid"] == 20
    assert last.predict(["win win", "hello you"]).tolist() == ["spam", "ham"]


@pytest.mark.parametrize("cell", ["?", " ? "])
def test_cannot_tell_is_no_label(path, cell):
    """It is an answer, and the row is not asked about again; empty is "not yet"."""
    teacher, ledger = FileTeacher(path), MemoryLedger()
    wait(teacher, texts(3), ledger)
    fill(path, lambda cells: cell if cells["text"].endswith("0") else "ham", n=3)
    bought = buy(teacher, texts(3), ledger)
    assert bought.no_label.tolist() == [True, False, False]
    assert buy(teacher, texts(3), ledger).n_paid == 0


def test_people_who_differ_make_shares(tmp_path):
    """A row waits until each has labeled it; how often they agree is counted."""
    path, ledger = tmp_path / "to_label.csv", MemoryLedger()
    teacher = FileTeacher(path, people=["Ann", "Bo", "Cy"])
    wait(teacher, texts(4), ledger)
    said = {"label Ann": "spam", "label Bo": "ham", "label Cy": "spam"}

    def edit(rows, names):
        return [r | {n: said[n] for n in names} for r in rows]

    Sheet(path).change(lambda rows: edit(rows, ["label Ann", "label Bo"]))
    assert not wait(teacher, texts(4), ledger).labeled.any()
    Sheet(path).change(lambda rows: edit(rows, said))
    labels = buy(teacher, texts(4), ledger).labels
    np.testing.assert_allclose(labels, [[1 / 3, 2 / 3]] * 4)
    assert teacher.agreement() == (12, 4)
    assert teacher.agreement().agreement == pytest.approx(1 / 3)


def test_numbers_are_labels(tmp_path):
    """A spreadsheet writes the class 1 as 1.0, and 0 as a number."""
    path, ledger = tmp_path / "to_label.csv", MemoryLedger()
    question = {"classes": np.array([0, 1]), "ledger": ledger}
    X = np.arange(6.0).reshape(3, 2)
    with pytest.raises(JobPendingError):
        buy_labels(FileTeacher(path), X, **question)
    fill(path, lambda cells: "1.0" if float(cells["x0"]) else "0")
    assert buy_labels(FileTeacher(path), X, **question).labels[:, 1].tolist() == [
        0,
        1,
        1,
    ]


def edited(rows):
    return [r | {"label": "ham", "text": r["text"] + " more"} for r in rows]


def doubled(rows):
    return [r | {"label": "ham"} for r in rows] + [rows[0] | {"label": "spam"}]


def unknown(rows):
    return [rows[0] | {"label": "hamm"}, *rows[1:]]


def without_id(rows):
    return [rows[0] | {"id": "1", "label": "ham"}, *rows[1:]]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (edited, "texts of row_.* were changed"),
        (doubled, "twice, with different labels"),
        (unknown, "unknown label 'hamm'.*ham"),
        (without_id, "the id '1', which was not written there"),
    ],
)
def test_mistakes_are_named_and_lose_nothing(mistake, said, tmp_path):
    """One sentence; the file stays as it is, and once mended it is read."""
    path, ledger = tmp_path / "to_label.csv", MemoryLedger()
    teacher = FileTeacher(path)
    wait(teacher, texts(4), ledger)
    right = records(path)
    Sheet(path).change(mistake)
    content = path.read_bytes()
    with pytest.raises(TeacherAnswerError, match=said):
        buy(teacher, texts(4), ledger)
    assert path.read_bytes() == content
    assert ledger.summary()["n_lost"] == 0
    Sheet(path).change(lambda rows: [r | {"label": "ham"} for r in right])
    assert buy(teacher, texts(4), ledger).n_paid == 4


@pytest.mark.parametrize("lock", [".~lock.to_label.csv#", "~$to_label.csv"])
def test_an_open_file_is_not_replaced(lock, tmp_path):
    """The program that has it open would save over the new rows."""
    path, ledger = tmp_path / "to_label.csv", MemoryLedger()
    (tmp_path / lock).touch()
    with pytest.raises(TeacherError, match=r"to_label\.csv is open"):
        buy(FileTeacher(path), texts(4), ledger)
    assert not path.exists()
    assert ledger.summary()["n_lost"] == 0
    (tmp_path / lock).unlink()
    wait(FileTeacher(path), texts(4), ledger)
    assert len(records(path)) == 4


def test_rows_that_somebody_removes_are_written_again(tmp_path):
    """With the labels of the others kept."""
    path, ledger = tmp_path / "to_label.csv", MemoryLedger()
    wait(FileTeacher(path), texts(6), ledger)
    fill(path, n=3)
    Sheet(path).change(lambda rows: rows[:5])
    assert wait(FileTeacher(path), texts(6), ledger).n_paid == 3
    assert len(records(path)) == 6
    fill(path)
    assert buy(FileTeacher(path), texts(6), ledger).labeled.all()
    assert ledger.summary()["n_paid"] == 6


def test_a_file_saved_while_it_is_replaced_is_read_again(tmp_path):
    """What a person saves in between is kept."""
    path = tmp_path / "to_label.csv"
    wait(FileTeacher(path), texts(4), MemoryLedger())
    calls = []

    def edit(rows):
        calls.append(len(rows))
        if len(calls) == 1:
            fill(path)
        return [*rows, {"id": "mine", "text": "new"}]

    Sheet(path).change(edit)
    assert len(calls) == 2
    assert [r["label"] for r in records(path)] == ["spam"] * 4 + [""]


def test_label_studio_reads_and_exports(tmp_path):
    """Tasks go out with a suggestion; the export is another file, with two people."""
    tasks, export = tmp_path / "tasks.json", tmp_path / "export.json"
    ledger = MemoryLedger()

    def make():
        return FileTeacher(tasks, answers=export, suggest=lambda X: ["ham"] * len(X))

    wait(make(), texts(3), ledger)
    made = json.loads(tasks.read_text())
    (prediction,) = made[0]["predictions"]
    assert prediction["result"][0]["value"] == {"choices": ["ham"]}
    for number, task in enumerate(made):
        task["id"] = number + 1
        task["annotations"] = [
            {"completed_by": {"id": who, "email": f"{who}@x"}, "result": [], **skipped}
            if skipped
            else {
                "completed_by": who,
                "was_cancelled": False,
                "result": [{"type": "choices", "value": {"choices": [label]}}],
            }
            for who, label, skipped in [
                (1, "spam", {}),
                (2, "ham", {"was_cancelled": True} if number == 0 else {}),
            ]
        ]
    export.write_text(json.dumps(made))
    assert sorted(buy(make(), texts(3), ledger).labels[:, 1]) == [0.5, 0.5, 1.0]
    wait(make(), texts(5), ledger)
    assert len(json.loads(tasks.read_text())) == 2  # the labeled ones are not repeated


def test_other_opinions_are_shown_if_asked_for(tmp_path):
    """In a column that is no label."""
    path = tmp_path / "to_label.csv"
    wait(FileTeacher(path), texts(2), MemoryLedger())
    assert "suggestion" not in records(path)[0]
    path.unlink()
    teacher = FileTeacher(path, suggest=lambda X: ["spam"] * len(X))
    assert not wait(teacher, texts(2), MemoryLedger()).labeled.any()
    assert [r["suggestion"] for r in records(path)] == ["spam"] * 2
    with pytest.raises(TeacherError, match="suggest returned"):
        buy(FileTeacher(path, suggest=lambda X: "spam"), texts(2), MemoryLedger())


@pytest.mark.parametrize("rows", [[b"x"], np.zeros((2, 3, 3)), [object()]])
def test_rows_that_no_table_holds_are_refused(rows):
    """Before anything is written."""
    with pytest.raises(TeacherError, match="cannot be written in a table"):
        cells_of(rows)


def test_a_column_of_the_data_may_be_called_label(tmp_path):
    """It is not taken for what people write."""
    pandas = pytest.importorskip("pandas")
    path, ledger = tmp_path / "to_label.csv", MemoryLedger()
    X = pandas.DataFrame({"label": ["spam", "x"], "id": [1, 2]})
    assert not wait(FileTeacher(path), X, ledger).labeled.any()
    fill(path, lambda cells: "ham")
    assert buy(FileTeacher(path), X, ledger).labels[:, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["to_label.ods", "to_label"])
def test_unknown_formats_are_refused(name, tmp_path):
    """Before a row is claimed."""
    with pytest.raises(TeacherError, match=r"pass a path that ends in \.csv"):
        buy(FileTeacher(tmp_path / name), texts(2), MemoryLedger())


def work(path, ledger):
    """Fill in and fit, over and over, as people and a script would.

    The moment between the file and the ledger, milliseconds, is made longer.
    """
    submit = FileTeacher.submit_rows

    def submit_slowly(self, *rows):
        job = submit(self, *rows)
        time.sleep(0.1)
        return job

    FileTeacher.submit_rows = submit_slowly  # in this process, which is killed
    while True:
        fit(path, ledger, texts(60), given(60), budget=40)
        fill(path, truth, n=3)


def test_kills_lose_no_label_and_ask_nothing_twice(tmp_path):
    """A process that is killed 20 times at random moments ends with the same bill."""
    path, ledger = tmp_path / "to_label.csv", tmp_path / "labels.sqlite"
    rng = np.random.default_rng(0)
    labeled = {}
    for _ in range(20):
        child = FORK.Process(target=work, args=(path, ledger))
        child.start()
        time.sleep(rng.uniform(0.02, 0.4))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        found = {r["id"]: r["label"] for r in records(path)}
        assert len(found) == len(records(path))
        assert all(found[name] == label for name, label in labeled.items())
        labeled = {name: label for name, label in found.items() if label}
    while (
        fit(path, ledger, texts(60), given(60), 40).termination_condition_ == "waiting"
    ):
        fill(path, truth)
    ids = [r["id"] for r in records(path)]
    assert len(ids) == len(set(ids)) == 40
    assert LabelLedger(ledger).summary()["n_paid"] == 40
    assert len(list(tmp_path.glob("*.tmp"))) <= 20
