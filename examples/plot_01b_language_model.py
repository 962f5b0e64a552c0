"""
Teach a small model with a language model
=========================================

What does an LLM behind an API cost as a teacher, and what is the student worth? A chat
model labels 300 of 1500 messages for 0.003, in the currency of its prices. The student
then works without the model: it is 97 % accurate on new messages, its teacher 95 %, and
a student trained on our 40 labels only 57 %.

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
from sklearn.base import clone
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
# ``plan`` shows the cost before anything is spent: the expected one, by the tokens of
# the messages, and the largest, if every message were as long as allowed and every call
# were billed six times. It also shows what would be sent about a message.
folder = tempfile.TemporaryDirectory()
distiller = ActiveDistiller(
    teacher,
    make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0)),
    query_strategy="margin",
    budget=300,
    ledger=Path(folder.name) / "labels.sqlite",
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
# What it is worth. The student learned words that the model does not know from those
# they appear with.
alone = clone(distiller.student).fit(X[:40], y[:40].astype(str))
scores = [sum((w in SPAM[:10]) - (w in HAM[:10]) for w in t.split()) for t in X_test]
model = np.where(np.array(scores) > 0, "spam", "ham")
print(f"student of our 40 labels  {alone.score(X_test, y_test):.3f}")
print(f"student of the model      {distiller.score(X_test, y_test):.3f}")
print(f"the model itself          {np.mean(model == y_test):.3f}")

# %%
# The student is a scikit-learn pipeline: save it, and leave teacher and key behind.
joblib.dump(distiller.student_, Path(folder.name) / "student.joblib")
student = joblib.load(Path(folder.name) / "student.joblib")
print(student.predict(["click for your prize", "notes of the team lunch"]))

distiller.ledger_.close()
folder.cleanup()

# sphinx_gallery_thumbnail_path = "_static/thumb_llm.svg"
