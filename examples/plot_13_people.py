"""
A model labels, a person corrects 30 rows
=========================================

Is half an hour of a person worth it, once a language model has labeled what the budget
allows? The model below is wrong on every fifth message. A person looks at the 30 most
suspect labels, in a spreadsheet: 29 of them are wrong. With these corrected the student
is 98.8 % accurate on new messages, instead of 96.0 %. The errors of this model are
random; those that a model always makes on the same kind of message look less suspect.
"""

# %%
# The messages are simulated: words of two kinds among neutral ones. We label 60 of them
# ourselves. The model is a stand-in that errs at random.
import csv
import tempfile
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller
from skadistill.exceptions import JobPendingError
from skadistill.labeling import buy_labels
from skadistill.teachers import FileTeacher, as_teacher

rng = np.random.default_rng(0)
SPAM, HAM = ("prize", "offer", "money", "click"), ("lunch", "team", "draft", "notes")
WORDS = {
    "spam": [a + b for a in SPAM for b in "abcdef"],
    "ham": [a + b for a in HAM for b in "abcdef"],
}


def make_message(label):
    return " ".join(
        [*rng.choice(WORDS[label], 2), *(f"w{rng.integers(99)}" for _ in "12345")]
    )


truth = rng.choice(["ham", "spam"], 1500)
texts = [make_message(label) for label in truth]
wrong = dict(zip(texts, rng.random(1500) < 0.2, strict=True))
label_of = dict(zip(texts, truth, strict=True))


def model(messages):
    other = {"spam": "ham", "ham": "spam"}
    return [other[label_of[m]] if wrong[m] else label_of[m] for m in messages]


X, X_test, y_test = texts[:1000], texts[1000:], truth[1000:]
y = np.array([*truth[:60], *[-1] * 940], dtype=object)
folder = Path(tempfile.mkdtemp())
path, ledger = folder / "to_correct.csv", folder / "labels.sqlite"

# %%
# First the model labels 200 messages. This is all that a user writes, with a client of
# a provider in place of `model`.
distiller = ActiveDistiller(
    as_teacher(model, name="model", version="1"),
    make_pipeline(TfidfVectorizer(), LogisticRegression()),
    budget=240,
    objective="soft",
    ledger=ledger,
    random_state=0,
).fit(X, y)
before = distiller.score(X_test, y_test)

# %%
# The 30 messages whose labels are most probably wrong go into a file, without the
# model's opinion. The ledger remembers that they wait for Ann.
rows = np.asarray(distiller.suspects(X, n_suspects=30)["row"])
suspect_texts = [X[i] for i in rows]
person = FileTeacher(path, classes=["ham", "spam"], name="Ann")
try:
    buy_labels(person, suspect_texts, classes=["ham", "spam"], ledger=distiller.ledger_)
except JobPendingError as error:
    print(error)

# %%
# Ann opens the file and fills in the column ``label``. Here she is simulated.
with open(path, encoding="utf-8-sig", newline="") as file:
    table = list(csv.DictReader(file))
for cells in table:
    cells["label"] = label_of[cells["text"]]
with open(path, "w", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, table[0])
    writer.writeheader()
    writer.writerows(table)

# %%
# Her labels are read into the ledger, beside those of the model, and go into ``y``: a
# given label replaces the teacher's. The second fit pays nothing.
read = buy_labels(
    person, suspect_texts, classes=["ham", "spam"], ledger=distiller.ledger_
)
y[rows] = np.array(["ham", "spam"])[read.labels.argmax(axis=1)]
budget = distiller.n_queries_ - len(rows)
again = distiller.set_params(budget=budget, teacher_checks=0).fit(X, y)
after = again.score(X_test, y_test)
n_wrong = sum(wrong[text] for text in suspect_texts)
print(f"{n_wrong} of {len(suspect_texts)} labels were wrong")
print(f"accuracy before {before:.3f}, after {after:.3f}; rows paid {again.n_paid_}")
