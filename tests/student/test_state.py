"""Nets through skops: plain values, no pickle, the same answers."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping
from torch import nn

from skadistill import ActiveDistiller
from skadistill.ledger import MemoryLedger, row_keys
from skadistill.objectives import LELP, Evidence
from skadistill.search import LayeredCNN
from skadistill.student import StudentNet
from skadistill.student._state import PickleState, plain_state

skops = pytest.importorskip("skops.io")

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
# What a file with a default net names; everything else in it skops knows.
NET_TYPES = [
    "skadistill.student._batches.TableLoader",
    "skadistill.student._module.SoftCrossEntropy",
    "skadistill.student._net.StudentNet",
    "torch.optim.adamw.AdamW",
]
DISTILLER_TYPES = [
    "skadistill._distiller.ActiveDistiller",
    "skadistill._utils.label_space.OneClass",
    "skadistill.ledger._memory.MemoryLedger",
    "skadistill._statistics.forecast.Forecast",
    "skadistill._statistics.checks.TeacherChecks",
    "skadistill.objectives._soft.SoftTargets",
    "skadistill.teachers._estimator.EstimatorTeacher",
]


def net(**kwargs):
    return StudentNet(**{"max_epochs": 4, "random_state": 0, "device": "cpu"} | kwargs)


def through_skops(model, types):
    """Write and read a model, trusting just the types named."""
    data = skops.dumps(model)
    assert skops.get_untrusted_types(data=data) == sorted(types)
    return skops.loads(data, trusted=types)


def test_a_net_comes_back_the_same():
    """Probabilities, classes, parameters and history are equal, not only near."""
    student = net().fit(X, NAMES)
    twin = through_skops(student, NET_TYPES)
    assert np.array_equal(twin.predict_proba(X), student.predict_proba(X))
    assert np.array_equal(twin.predict(X), student.predict(X))
    assert twin.get_params(deep=False) == student.get_params(deep=False)
    assert twin.history == student.history
    assert vars(twin).keys() == vars(student).keys()


def test_a_net_goes_on_training_as_if_never_saved():
    """Weights and the optimizer's state are there: both go on alike."""
    student = net(device="auto").fit(X, Y)
    twin = through_skops(student, NET_TYPES)
    assert np.array_equal(
        twin.partial_fit(X, Y).predict_proba(X),
        student.partial_fit(X, Y).predict_proba(X),
    )


def test_an_unfitted_net_travels():
    """Parameters are enough to fit the same net elsewhere."""
    twin = through_skops(net(), NET_TYPES)
    assert not hasattr(twin, "classes_")
    assert np.array_equal(
        twin.fit(X, Y).predict_proba(X), net().fit(X, Y).predict_proba(X)
    )


@pytest.mark.parametrize(
    ("kwargs", "rows"),
    [
        (
            {"module": LayeredCNN, "module__width_1": 4, "standardize": True},
            np.random.default_rng(0).normal(size=(40, 1, 8, 8)),
        ),
        ({"input_dtype": "float64"}, X[:40]),
    ],
    ids=["images", "double precision"],
)
def test_buffers_and_precision(kwargs, rows):
    """What batch normalization has measured is kept; so is double precision."""
    student = net(**kwargs).fit(rows, np.arange(40) % 2)
    data = skops.dumps(student)
    twin = skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    assert twin.predict_proba(rows).dtype == student.predict_proba(rows).dtype
    assert np.array_equal(twin.predict_proba(rows), student.predict_proba(rows))


def test_pseudo_subclasses_and_tensors_as_parameters():
    """A lesson's extra outputs are rebuilt; tensors come back as tensors."""
    rng = np.random.default_rng(0)
    rows, _ = make_classification(60, random_state=0)
    p = rng.dirichlet(np.ones(2), 60)
    embeddings = rng.normal(size=(60, 6)).astype(np.float32)
    lesson = LELP(n_subclasses=2).lesson(
        Evidence(p, np.zeros(60, dtype=bool), embeddings=embeddings)
    )
    student = net().fit_lesson(rows, lesson, classes=["no", "yes"])
    twin = through_skops(student, NET_TYPES)
    assert twin.n_subclasses_ == 2
    assert np.array_equal(twin.predict_proba(rows), student.predict_proba(rows))
    weighted = net(
        criterion=nn.CrossEntropyLoss, criterion__weight=torch.tensor([1.0, 2, 3])
    )
    types = [*NET_TYPES, "torch.nn.modules.loss.CrossEntropyLoss"]
    types.remove("skadistill.student._module.SoftCrossEntropy")
    twin = through_skops(weighted.fit(X, Y), types)
    assert torch.equal(twin.criterion__weight, torch.tensor([1.0, 2, 3]))
    assert np.array_equal(twin.predict_proba(X), weighted.predict_proba(X))


def test_half_precision_weights_are_exact():
    """bfloat16, which numpy lacks, passes through float32 without loss."""
    student = net().fit(X, Y)
    student.module_.to(torch.bfloat16)
    twin = StudentNet.__new__(StudentNet)
    twin.__setstate__(plain_state(student))
    for name, value in student.module_.state_dict().items():
        assert torch.equal(twin.module_.state_dict()[name], value.float())


def test_callbacks_are_kept_as_parameters():
    """A callback in the list is one more type to trust, and is there again."""
    student = net(callbacks=[EarlyStopping("train_loss")]).fit(X, Y)
    data = skops.dumps(student)
    types = skops.get_untrusted_types(data=data)
    assert "skorch.callbacks.training.EarlyStopping" in types
    twin = skops.loads(data, trusted=types)
    assert isinstance(twin.callbacks[0], EarlyStopping)
    assert [name for name, _ in twin.callbacks_] == [
        name for name, _ in student.callbacks_
    ]


@pytest.mark.parametrize("student", [None, LogisticRegression()])
def test_pipelines_and_distillers(student):
    """The loop's evidence travels with the student, inside a pipeline too."""
    y = Y.copy()
    y[30:50] = y[70:100] = y[120:] = -1
    model = make_pipeline(
        StandardScaler(),
        ActiveDistiller(
            LogisticRegression(),
            student or net(),
            budget=8,
            query_size=4,
            random_state=0,
        ),
    ).fit(X, y)
    types = DISTILLER_TYPES if student else [*DISTILLER_TYPES, *NET_TYPES]
    twin = through_skops(model, types)
    assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert twin[-1].history_ == model[-1].history_
    assert twin[-1].teacher_checks_.interval() == pytest.approx(
        model[-1].teacher_checks_.interval()
    )
    assert twin[-1].ledger_.summary() == model[-1].ledger_.summary()


def test_a_ledger_keeps_its_labels():
    """Answers, embeddings and claims' limits are there; keys find them."""
    ledger = MemoryLedger(max_rows=9)
    keys = row_keys(X[:5])
    ledger.record(
        keys, "me", ["b", "a"], np.tile([0.25, 0.75], (5, 1)), embeddings=X[:5]
    )
    twin = through_skops(ledger, ["skadistill.ledger._memory.MemoryLedger"])
    known, labels = twin.lookup(row_keys(X[:6]), "me", ["a", "b"])
    assert known.tolist() == [True] * 5 + [False]
    assert labels[0].tolist() == [0.75, 0.25]
    assert np.array_equal(
        twin.lookup_embeddings(keys, "me")[1], X[:5].astype(np.float32)
    )
    assert twin.max_rows == 9


def test_no_pickle_is_in_the_file_and_none_is_opened():
    """A file with skorch's pickled bytes in the net's place runs nothing."""
    data = skops.dumps(net().fit(X, Y))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {name.rpartition(".")[2] for name in archive.namelist()} == {
            "json",
            "npy",
        }
    poisoned = dict(net().fit(X, Y).__reduce_ex__(4)[2])
    assert isinstance(poisoned["__cuda_dependent_attributes__"], bytes)
    twin = StudentNet.__new__(StudentNet)
    twin.__setstate__(poisoned)
    assert not hasattr(twin, "module_")
    opened = StudentNet.__new__(StudentNet)
    opened.__setstate__(PickleState(poisoned))
    assert hasattr(opened, "module_")


def test_trimmed_nets_are_refused_and_pickle_still_works():
    """What is left of one cannot be made anew, and says so."""
    student = net().fit(X, Y)
    student.trim_for_prediction()
    with pytest.raises(TypeError, match="save it before it is trimmed"):
        skops.dumps(student)
    twin = pickle.loads(pickle.dumps(student))
    assert np.array_equal(twin.predict_proba(X), student.predict_proba(X))


@pytest.mark.parametrize(
    "kwargs", [{"module": nn.Linear(4, 3)}, {"criterion": nn.CrossEntropyLoss()}]
)
def test_instances_are_refused_by_name_and_pickle_still_works(kwargs):
    """What cannot be made anew says so when it is written."""
    student = net(**kwargs).fit(X, Y)
    with pytest.raises(TypeError, match=r"is an instance of .* pass the class"):
        skops.dumps(student)
    twin = pickle.loads(pickle.dumps(student))
    assert np.array_equal(twin.predict_proba(X), student.predict_proba(X))
