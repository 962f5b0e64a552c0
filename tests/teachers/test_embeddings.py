"""Embeddings come from where the user says, are checked, and are paid for once."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skadistill.exceptions import (
    LedgerError,
    TeacherAnswerError,
    TeacherCallError,
    TeacherError,
)
from skadistill.labeling import buy_labels
from skadistill.ledger import LabelLedger, MemoryLedger, row_keys
from skadistill.student import StudentNet
from skadistill.teachers import BaseTeacher, FunctionTeacher, as_teacher

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)


@pytest.fixture
def table(rng):
    X = rng.normal(size=(60, 4)).astype(np.float32)
    return X, (X[:, 0] + X[:, 1] > 0).astype(int)


@pytest.fixture(params=["memory", "file"])
def ledger(request, tmp_path):
    if request.param == "memory":
        return MemoryLedger()
    return LabelLedger(tmp_path / "ledger.jsonl")


def proba(X):
    p = 1 / (2 + np.abs(np.asarray(X)[:, 0]))
    return np.column_stack([p, 1 - p])


def twice(X):
    return 2 * np.asarray(X)


def both(X):
    return proba(X), twice(X)


def both_of(teacher, X):
    """Return labels and embeddings asked for together."""
    [part] = teacher.ask_parts(X, [0, 1], with_embeddings=True)
    return part.labels, part.embeddings


class Counted:
    """Count the rows of each call."""

    def __init__(self, function):
        self.function = function
        self.calls = []

    def __call__(self, X):
        self.calls.append(len(X))
        return self.function(X)


# ----------------------------------------------------------------- where they come from


def test_a_pair_of_functions():
    """One function answers, the other embeds."""
    teacher = as_teacher(proba, embedding=twice)
    X = np.arange(6.0).reshape(3, 2)
    assert teacher.has_embeddings
    assert teacher.can_embed_only
    assert teacher.output_weights is None
    embeddings = teacher.embed(X)
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings, 2 * X)
    labels, again = both_of(teacher, X)
    np.testing.assert_array_equal(labels, teacher.ask(X, [0, 1]))
    np.testing.assert_array_equal(again, embeddings)


def test_a_function_that_gives_both_is_called_once():
    """With "pair" one call brings answers and embeddings, and `ask` answers alone."""
    function = Counted(both)
    teacher = as_teacher(function, embedding="pair")
    X = np.arange(6.0).reshape(3, 2)
    labels, embeddings = both_of(teacher, X)
    assert function.calls == [3]
    np.testing.assert_allclose(labels, proba(X))
    np.testing.assert_array_equal(embeddings, 2 * X)
    np.testing.assert_array_equal(teacher.ask(X, [0, 1]), labels)
    np.testing.assert_array_equal(teacher.embed(X), embeddings)
    assert not teacher.can_embed_only


def test_a_named_method():
    """Of an estimator, frozen or not, and of an object that is called."""

    class Client:
        def __call__(self, X):
            return proba(X)

        def encode(self, X):
            return twice(X)

    X = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(
        as_teacher(Client(), embedding="encode").embed(X), 2 * X
    )
    y = [0, 1, 1]
    tree = LogisticRegression().fit(X, y)
    for estimator in (tree, FrozenEstimator(tree)):
        teacher = as_teacher(estimator, embedding="decision_function")
        with pytest.raises(TeacherAnswerError, match=r"shape \(3,\) for 3 rows"):
            teacher.embed(X)


def test_a_pipeline_embeds_by_the_steps_before_its_classifier(table):
    """Its "transform", and the classifier's weights turn embeddings into logits."""
    X, y = table
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    teacher = as_teacher(pipeline, embedding="transform")
    embeddings = teacher.embed(X)
    np.testing.assert_allclose(embeddings, pipeline[0].transform(X), rtol=1e-6)
    logits = embeddings @ teacher.output_weights.T
    np.testing.assert_allclose(
        logits[:, 1] - logits[:, 0] + pipeline[-1].intercept_,
        pipeline.decision_function(X),
        atol=1e-5,
    )
    frozen = as_teacher(FrozenEstimator(pipeline), embedding="transform")
    np.testing.assert_array_equal(frozen.embed(X), embeddings)
    assert not as_teacher(pipeline).has_embeddings
    with pytest.raises(TeacherError, match="has no method 'encode'"):
        as_teacher(pipeline, embedding="encode").embed(X)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("classes", [["no", "yes"], ["a", "b", "c"]])
def test_the_hidden_layer_of_an_mlp(activation, classes, table):
    """Embeddings times output weights plus intercepts are the network's logits."""
    X, _ = table
    y = np.array(classes)[np.arange(60) % len(classes)]
    mlp = MLPClassifier((7, 5), activation=activation, max_iter=20, random_state=0)
    mlp.fit(X, y)
    teacher = as_teacher(mlp)
    embeddings = teacher.embed(X)
    assert embeddings.shape == (60, 5)
    assert teacher.output_weights.shape == (len(classes), 5)
    bias = mlp.intercepts_[-1]
    bias = np.array([0, bias[0]]) if len(classes) == 2 else bias
    logits = torch.from_numpy(embeddings @ teacher.output_weights.T + bias)
    np.testing.assert_allclose(
        torch.softmax(logits, dim=1), mlp.predict_proba(X), atol=1e-5
    )
    np.testing.assert_allclose(
        teacher.embed(sparse.csr_matrix(X)), embeddings, atol=1e-5
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_hidden_layer_of_a_net(n_classes, table):
    """What the last linear layer of a skorch net reads, in the order of the rows."""
    X, _ = table
    net = StudentNet(
        module__hidden_sizes=(6,), max_epochs=3, device="cpu", random_state=0
    )
    net.fit(X, np.arange(60) % n_classes)
    teacher = as_teacher(net)
    embeddings = teacher.embed(X)
    assert embeddings.shape == (60, 6)
    last = [m for m in net.module_.modules() if isinstance(m, nn.Linear)][-1]
    logits = embeddings @ teacher.output_weights.T + last.bias.detach().numpy()
    expected = torch.softmax(torch.from_numpy(logits), dim=1)
    np.testing.assert_allclose(expected, net.predict_proba(X), atol=1e-5)
    assert not last._forward_pre_hooks


def test_hidden_layers_behind_other_steps(table):
    """A pipeline that ends in a network embeds without being told how."""
    X, y = table
    mlp = MLPClassifier((5,), max_iter=20, random_state=0)
    pipeline = make_pipeline(StandardScaler(), mlp)
    assert as_teacher(pipeline).has_embeddings
    assert as_teacher(pipeline).output_weights is None
    pipeline.fit(X, y)
    expected = as_teacher(pipeline[-1]).embed(pipeline[0].transform(X))
    np.testing.assert_array_equal(as_teacher(pipeline).embed(X), expected)
    frozen = as_teacher(FrozenEstimator(pipeline))
    np.testing.assert_array_equal(frozen.embed(X), expected)
    assert frozen.output_weights.shape == (2, 5)


def test_a_net_without_a_linear_layer_says_so(table):
    """The message names the way out."""

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, X):
            return X[:, :2] * self.scale

    X, y = table
    net = StudentNet(module=Mean, max_epochs=1, device="cpu").fit(X, y)
    teacher = as_teacher(net)
    assert teacher.output_weights is None
    with pytest.raises(TeacherError, match="pass a function of rows as embedding"):
        teacher.embed(X)


def test_teachers_fitted_here_embed_like_fitted_ones(table):
    """`fit` and clones carry the embedding on."""
    X, y = table
    teacher = as_teacher(LogisticRegression(), embedding=twice)
    with pytest.raises(TeacherCallError, match="before it was fitted"):
        teacher.embed(X)
    for one in (teacher.fit(X, y), clone(teacher).fit(X, y)):
        np.testing.assert_array_equal(one.embed(X), 2 * X)


def test_a_teacher_of_ones_own():
    """A subclass overrides one method and says that it has embeddings."""

    class Oracle(BaseTeacher):
        has_embeddings = True

        def answer(self, X):
            return proba(X)

        def answer_embeddings(self, X):
            return twice(X).tolist()

        def derived_identity(self):
            return "oracle"

    X = np.arange(6.0).reshape(3, 2)
    bought = buy_labels(Oracle(), X, classes=[0, 1], with_embeddings=True)
    np.testing.assert_array_equal(bought.embeddings, 2 * X)


# ------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "convert", [np.asarray, np.ndarray.tolist, torch.tensor, pd.DataFrame]
)
def test_any_table_of_numbers_will_do(convert):
    """Arrays, lists, tensors, also with gradients, and frames become float32."""
    X = np.arange(6.0).reshape(3, 2)

    def embed(X):
        found = convert(X)
        return found.requires_grad_() if convert is torch.tensor else found

    embeddings = as_teacher(proba, embedding=embed).embed(X)
    assert type(embeddings) is np.ndarray
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings, X)


@pytest.mark.parametrize(
    ("embeddings", "fault"),
    [
        (np.zeros((2, 4)), r"shape \(2, 4\) for 3 rows"),
        (np.zeros(3), r"shape \(3,\) for 3 rows"),
        (np.zeros((3, 0)), r"shape \(3, 0\) for 3 rows"),
        ([["a"], ["b"], ["c"]], "not a table of numbers"),
        (None, r"shape \(\) for 3 rows"),
    ],
)
def test_tables_of_another_shape_are_refused(embeddings, fault):
    """One row of numbers for each row asked about, nothing else."""
    teacher = as_teacher(proba, embedding=lambda X: embeddings)
    with pytest.raises(TeacherAnswerError, match=fault):
        teacher.embed(np.zeros((3, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_embeddings_must_be_finite(value):
    """The message names the row as the caller counts it."""
    teacher = as_teacher(proba, embedding=lambda X: [[0.0], [value], [0.0]])
    with pytest.raises(TeacherError, match=r"row 8 that holds (nan|inf)"):
        teacher.embed(np.zeros((3, 2)), row_numbers=[7, 8, 9])


def test_no_row_no_call():
    """Neither for embeddings alone nor for both."""
    embed = Counted(twice)
    teacher = as_teacher(proba, embedding=embed)
    assert teacher.embed(np.zeros((0, 2))).shape == (0, 0)
    parts = teacher.ask_parts(np.zeros((0, 2)), [0, 1], with_embeddings=True)
    assert list(parts) == []
    assert embed.calls == []


def test_faults_become_the_teachers():
    """Whatever an embedding raises is a TeacherCallError with its cause."""

    def broken(X):
        raise OSError("the line is down")

    teacher = as_teacher(proba, embedding=broken)
    for call in (teacher.embed, lambda X: both_of(teacher, X)):
        with pytest.raises(TeacherCallError, match="OSError: the line is down"):
            call(np.zeros((3, 2)))


def test_a_promised_pair_must_come():
    """A function that answers something else is told so."""
    for function in (proba, lambda X: (1, 2, 3)):
        teacher = as_teacher(function, embedding="pair")
        with pytest.raises(TeacherAnswerError, match="return a tuple of the two"):
            teacher.ask(np.zeros((2, 2)), [0, 1])


def test_options_of_a_teacher_are_not_given_twice():
    """as_teacher refuses an embedding beside a teacher."""
    with pytest.raises(TeacherError, match="together with embedding"):
        as_teacher(as_teacher(proba), embedding=twice)


def test_identities_hold_where_embeddings_come_from(table):
    """Derived ones differ by it; a name given by the user stands alone."""
    X, y = table
    fitted = LogisticRegression().fit(X, y)
    for obj in (proba, fitted):
        ids = {as_teacher(obj, embedding=e).identity for e in (None, twice, "decision")}
        assert len(ids) == 3
        assert as_teacher(obj, name="me", embedding=twice).identity == "me"
    unfitted = LogisticRegression()
    a = as_teacher(unfitted, embedding=twice).fit(X, y).identity
    assert a != as_teacher(unfitted).fit(X, y).identity


# ------------------------------------------------------------------------ purchases


def test_embeddings_are_bought_with_the_labels_once(rng, ledger):
    """One call a batch, nothing for rows the ledger knows, equal rows once."""
    function = Counted(both)
    teacher = FunctionTeacher(function, name="t", embedding="pair")
    X = rng.normal(size=(10, 3))[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]]
    buy = {"classes": [0, 1], "ledger": ledger, "with_embeddings": True}
    first = buy_labels(teacher, X[:4], **buy)
    assert (first.n_paid, first.n_embedded, function.calls) == (4, 0, [4])
    bought = buy_labels(teacher, X, batch_size=4, **buy)
    assert (bought.n_paid, bought.n_free, bought.n_embedded) == (6, 6, 0)
    assert function.calls == [4, 4, 2]
    assert bought.embeddings.dtype == np.float32
    np.testing.assert_array_equal(bought.embeddings, (2 * X).astype(np.float32))
    np.testing.assert_allclose(bought.labels, proba(X))
    assert buy_labels(teacher, X, **buy).n_calls == 0


def test_without_being_asked_no_embeddings_come():
    """The purchase has None, and the separate function is not called."""
    embed = Counted(twice)
    bought = buy_labels(as_teacher(proba, embedding=embed), np.eye(3), classes=[0, 1])
    assert bought.embeddings is None
    assert embed.calls == []


def test_known_labels_get_their_embedding_where_it_can_be_had_alone(ledger):
    """A separate function is asked for the missing ones, in batches, and no label."""
    answer, embed = Counted(proba), Counted(twice)
    teacher = FunctionTeacher(answer, name="t", embedding=embed)
    X = np.arange(14.0).reshape(7, 2)
    buy_labels(teacher, X[:5], classes=[0, 1], ledger=ledger)
    buy = {"classes": [0, 1], "ledger": ledger, "with_embeddings": True}
    bought = buy_labels(teacher, X, batch_size=2, **buy)
    assert (answer.calls, embed.calls) == ([5, 2], [2, 2, 2, 1])
    assert (bought.n_paid, bought.n_free, bought.n_embedded) == (2, 5, 5)
    np.testing.assert_array_equal(bought.embeddings, 2 * X)
    spent = ledger.summary()
    assert (spent["n_paid"], spent["n_labels"], spent["n_calls"]) == (7, 7, 5)
    again = buy_labels(teacher, X, **buy)
    assert (again.n_calls, again.n_embedded) == (0, 0)
    np.testing.assert_array_equal(again.embeddings, 2 * X)


def test_embeddings_alone_leave_the_budget_for_labels():
    """Five embeddings asked apart take none of the seven rows that may be paid."""
    ledger = MemoryLedger(max_rows=7)
    teacher = FunctionTeacher(proba, name="t", embedding=twice)
    X = np.arange(16.0).reshape(8, 2)
    buy_labels(teacher, X[:5], classes=[0, 1], ledger=ledger)
    buy = {"classes": [0, 1], "ledger": ledger, "with_embeddings": True}
    assert buy_labels(teacher, X[:5], **buy).n_embedded == 5
    assert buy_labels(teacher, X, **buy).n_paid == 2


def test_embeddings_of_a_new_teacher_are_kept_without_any_label(ledger):
    """They are found again; no label is; another width is refused."""
    keys = row_keys(np.eye(3))
    ledger.record_embeddings(keys[:2], "t", [[1, 2], [3, 4]], cost=0.5, seconds=2)
    known, embeddings = ledger.lookup_embeddings(keys, "t")
    assert known.tolist() == [True, True, False]
    assert embeddings[:2].tolist() == [[1, 2], [3, 4]]
    assert not ledger.lookup(keys, "t", [0, 1])[0].any()
    spent = ledger.summary()["teachers"]["t"]
    assert (spent["n_paid"], spent["n_calls"], spent["cost"]) == (0, 1, 0.5)
    with pytest.raises(LedgerError, match=r"3 columns but those recorded .* have 2"):
        ledger.record_embeddings(keys, "t", np.ones((3, 3)))


def test_known_labels_stay_without_embedding_where_it_would_be_a_label_again(ledger):
    """A function that gives both is not asked again: NaN."""
    function = Counted(both)
    teacher = FunctionTeacher(function, name="t", embedding="pair")
    X = np.arange(14.0).reshape(7, 2)
    buy_labels(teacher, X[:5], classes=[0, 1], ledger=ledger)
    buy = {"classes": [0, 1], "ledger": ledger, "with_embeddings": True}
    none = buy_labels(teacher, X[:5], **buy)
    assert none.embeddings.shape == (5, 0)
    bought = buy_labels(teacher, X, **buy)
    assert function.calls == [5, 2]
    assert np.isnan(bought.embeddings[:5]).all()
    np.testing.assert_array_equal(bought.embeddings[5:], 2 * X[5:])


def test_rows_beyond_the_limit_have_neither_label_nor_embedding():
    """max_rows holds for both, and an embedding alone is not bought for them."""
    embed = Counted(twice)
    teacher = as_teacher(proba, embedding=embed)
    X = np.arange(8.0).reshape(4, 2)
    bought = buy_labels(teacher, X, classes=[0, 1], max_rows=3, with_embeddings=True)
    assert embed.calls == [3]
    assert np.isnan(bought.embeddings[3]).all()


def test_teachers_without_embeddings_are_refused_before_anything_is_paid():
    """The message says how they could have some."""
    answer = Counted(proba)
    with pytest.raises(TeacherError, match=r"as_teacher\(obj, embedding=\.\.\.\)"):
        buy_labels(answer, np.eye(3), classes=[0, 1], with_embeddings=True)
    assert answer.calls == []
    with pytest.raises(TeacherError, match="returns no embeddings"):
        as_teacher(LogisticRegression().fit(np.eye(2), [0, 1])).embed(np.eye(2))


def test_a_fault_in_an_embedding_keeps_what_was_paid_before(ledger):
    """Three batches are in the ledger, the third without its embeddings."""

    def embed(X):
        return np.full((len(X), 2), np.nan) if X[0, 0] == 8 else twice(X)

    teacher = FunctionTeacher(proba, name="t", embedding=embed)
    X = np.arange(14.0).reshape(7, 2)
    buy = {"classes": [0, 1], "ledger": ledger, "with_embeddings": True}
    with pytest.raises(TeacherError, match="the 6 answers paid for so far"):
        buy_labels(teacher, X, batch_size=2, **buy)
    mended = FunctionTeacher(proba, name="t", embedding=Counted(twice))
    bought = buy_labels(mended, X, **buy)
    assert mended.embedding.calls == [1, 2]
    np.testing.assert_array_equal(bought.embeddings, 2 * X)
