"""
Teach a small model with a language model
=========================================

What does an LLM behind an API cost as a teacher, and what is the student worth? A chat
model labels 300 of 1500 messages for 0.003, in the currency of its prices. The student
then works without the model: it is 97 % accurate on new messages, its teacher 89 %
(what it refuses counts as wrong), and a student trained on our 40 labels only 57 %.

No data leave the machine: the client below stands in for the one of your provider.
"""

# %%
# The messages are simulated: words of two kinds among neutral ones. We label 40 of them
# ourselves.
import math
import tempfile
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill import ActiveDistiller, ChatTeacher

rng = np.random.default_rng(0)
SPAM = [a + b for a in ("prize", "offer", "money", "click") for b in ("", "s", "now")]
HAM = [a + b for a in ("lunch", "team", "draft", "notes") for b in ("", "s", "today")]
OTHER = [f"word{i}" for i in range(120)]


def make_message():
    label = ("ham", "spam")[rng.integers(2)]
    own, foreign = (SPAM, HAM) if label == "spam" else (HAM, SPAM)
    n_foreign = rng.integers(2)
    words = [*rng.choice(OTHER, 8), *rng.choice(own, 2)]
    words += [*rng.choice(foreign, n_foreign)]
    return " ".join(rng.permutation(words)), label


texts, truth = zip(*(make_message() for _ in range(2500)), strict=True)
X, X_test, y_test = list(texts[:1500]), list(texts[1500:]), np.array(truth[1500:])
y = np.array([*truth[:40], *["?"] * 1460], dtype=object)

# %%
# A stand-in for ``openai.OpenAI()``. Its model knows most of the words, says "Spam" in
# several ways, and now and then refuses.


def create(messages, **body):
    text = messages[-1]["content"]
    score = sum((w in SPAM[:10]) - (w in HAM[:10]) for w in text.split())
    p = 1 / (1 + math.exp(-1.5 * score + 0.01))
    top = {"Spam": 0.9 * p, " spam": 0.09 * p, "ham": 0.99 * (1 - p), "Hmm": 0.01}
    refusal = "I cannot help with that." if "word7 " in text else None
    listed = [{"token": t, "logprob": math.log(q)} for t, q in top.items()]
    word = "Spam" if p > 0.5 else "ham"
    return {
        "model": "small-2026-11",
        "choices": [
            {
                "finish_reason": "stop",
                "message": {"content": word, "refusal": refusal},
                "logprobs": {
                    "content": [{"token": word, "logprob": 0, "top_logprobs": listed}]
                },
            }
        ],
        "usage": {"prompt_tokens": len(text) // 4 + 40, "completion_tokens": 2},
    }


client = SimpleNamespace(
    chat=SimpleNamespace(completions=SimpleNamespace(create=create))
)

# %%
# The teacher: a client, a model, classes, a question, and the prices of a million
# tokens.
teacher = ChatTeacher(
    client,
    model="small",
    classes={"spam": "unwanted advertising", "ham": "anything else"},
    prompt="Is this message spam?",
    prices=(0.15, 0.60),
)

# %%
# The folder keeps the ledger of paid labels. Before the budget, the model is tried on
# our own labels: a prompt that fails here is changed now.
folder = tempfile.TemporaryDirectory()
ledger = Path(folder.name) / "labels.sqlite"
print(teacher.try_on(X[:40], y[:40], ledger=ledger))

# %%
# ``plan`` shows the cost before anything is spent: the expected one, by the tokens of
# the messages, and in brackets the largest, if every message were as long as allowed
# and every call were billed six times. It also shows what would be sent about a
# message.
distiller = ActiveDistiller(
    teacher,
    make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0)),
    query_strategy="margin",
    budget=300,
    ledger=ledger,
    unlabeled_marker="?",
    random_state=0,
)
print(distiller.plan(X, y))

# %%
# The fit. Refused messages stay unlabeled: paid for, remembered, and left out.
distiller.fit(X, y)
print(f"rows paid {distiller.n_paid_}, without a label {distiller.n_no_label_}")
print(f"cost {distiller.cost_:.4f}")
print(f"answered by {distiller.ledger_.models()}")

# %%
# Results on test messages that we labeled, too. ``ask_teacher=True`` pays for
# the model's answers about them. The student learned words that the model does not know
# from those they appear with.
comparison = distiller.compare(X_test, y_test, ask_teacher=True)
print(comparison)

# %%
# The report is one HTML file for those who pay, with the labels to look at.
report = Path(folder.name) / "report.html"
distiller.report(report, X=X, comparison=comparison)
print(f"the report has {len(report.read_text(encoding='utf8')) // 1000} kB")

# %%
# The student is a scikit-learn pipeline: save it, and leave teacher and key behind.
joblib.dump(distiller.student_, Path(folder.name) / "student.joblib")
student = joblib.load(Path(folder.name) / "student.joblib")
print(student.predict(["click for your prize", "notes of the team lunch"]))

distiller.ledger_.close()
folder.cleanup()

# sphinx_gallery_thumbnail_path = "_static/thumb_llm.svg"
