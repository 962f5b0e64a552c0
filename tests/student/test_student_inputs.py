"""Inputs of a student: frames, files, images, modules passed by the user."""

import copy
import pickle
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader

from skadistill.student import StudentNet
from skadistill.student._batches import Rows, column_moments
from skadistill.student._module import Standardize

X, Y = load_iris(return_X_y=True)


def net(**kwargs):
    return StudentNet(**{"max_epochs": 4, "batch_size": 32, "random_state": 0} | kwargs)


def weights_of(student):
    return torch.cat([p.detach().flatten() for p in student.module_.parameters()])


class Linear(nn.Linear):
    """A module that names what it wants to know."""

    def __init__(self, n_features, n_classes, bias=True):
        super().__init__(n_features, n_classes, bias=bias)


def small_cnn(input_shape, n_classes, width=4):
    """Make a CNN: a factory may be a function."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], width, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width, n_classes),
    )


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames(frame):
    """Frames of pandas and polars give the net of the array and remember the names."""
    names = ["a", "b", "c", "d"]
    table = frame(dict(zip(names, X.T, strict=True)))
    if not hasattr(StandardScaler().fit(table), "feature_names_in_"):
        pytest.skip("this scikit-learn does not see the names of these columns")
    student = net().fit(table, Y)
    assert student.feature_names_in_.tolist() == names
    assert torch.equal(weights_of(student), weights_of(net().fit(X, Y)))
    np.testing.assert_array_equal(student.predict(table), net().fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        student.predict(
            table.rename(columns={"a": "z"})
            if frame is pd.DataFrame
            else table.rename({"a": "z"})
        )


def test_frame_columns_as_labels():
    """A pandas column with a foreign index and a polars column are labels."""
    names = np.array(["x", "y", "z"])[Y]
    by_pandas = net().fit(X, pd.Series(names, index=np.arange(len(Y))[::-1]))
    by_polars = net().fit(X, pl.Series(names))
    assert by_pandas.classes_.tolist() == by_polars.classes_.tolist() == ["x", "y", "z"]
    assert torch.equal(weights_of(by_pandas), weights_of(by_polars))


def test_column_vector_of_labels():
    """Labels of shape (n, 1) are taken with scikit-learn's warning."""
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        student = net().fit(X, Y[:, None])
    assert torch.equal(weights_of(student), weights_of(net().fit(X, Y)))


def test_soft_targets_as_frames():
    """Targets may be a frame and classes a list."""
    targets = np.eye(3)[Y]
    expected = net().fit_soft(X, targets, classes=[0, 1, 2])
    got = net().fit_soft(X, pd.DataFrame(targets), classes=[0, 1, 2])
    assert torch.equal(weights_of(expected), weights_of(got))


def test_mapped_files_are_read_batch_by_batch(tmp_path, monkeypatch):
    """A table mapped into memory is never copied as a whole."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(500, 8)).astype(np.float32)
    np.save(tmp_path / "table.npy", table)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    y = (table[:, 0] > 0).astype(int)
    largest = 0
    dense = Rows._dense

    def watched(self, rows):
        nonlocal largest
        largest = max(largest, len(rows))
        return dense(self, rows)

    monkeypatch.setattr(Rows, "_dense", watched)
    monkeypatch.setattr("skadistill.student._batches.SHUFFLE_WHOLE_BYTES", 0)
    monkeypatch.setattr("skadistill.student._batches.MOMENTS_BLOCK_BYTES", 4096)
    monkeypatch.setattr("skadistill.student._training.PREDICT_BLOCK_BYTES", 2048)
    student = net().fit(mapped, y)
    proba = student.predict_proba(mapped)
    assert 0 < largest <= 64
    monkeypatch.undo()
    in_memory = net().fit(table, y)
    np.testing.assert_allclose(proba, in_memory.predict_proba(table), atol=1e-5)


def test_images_with_a_small_cnn():
    """A function that returns a CNN is told shape and classes; images stay images."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    images = rng.normal(size=(120, 1, 8, 8))
    images[y == 1, :, :4] += 2
    student = net(module=small_cnn, module__width=6, max_epochs=15, lr=0.02)
    student.fit(images, y)
    assert student.score(images, y) > 0.9
    assert student.module_[0].out_channels == 6
    assert student.n_features_in_ == 1


def test_images_can_be_standardized_by_channel():
    """standardize=True puts one mean and deviation per channel before a module."""
    rng = np.random.default_rng(0)
    images = rng.normal([[[[5.0]], [[-3.0]]]], [[[[2.0]], [[4.0]]]], (50, 2, 6, 6))
    student = net(module=small_cnn, standardize=True).fit(images, np.arange(50) % 2)
    layer = student.module_[0]
    assert isinstance(layer, Standardize)
    assert layer.shift.shape == (2, 1, 1)
    np.testing.assert_allclose(
        layer.shift.flatten(), images.mean(axis=(0, 2, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(
        layer.scale.flatten(), images.std(axis=(0, 2, 3)), rtol=1e-5
    )


def test_moments_are_weighted_and_exact(monkeypatch):
    """The standardizing layer holds the weighted moments, over several blocks."""
    monkeypatch.setattr("skadistill.student._batches.MOMENTS_BLOCK_BYTES", 1000)
    rng = np.random.default_rng(0)
    table = (1e4 + rng.normal(size=(999, 3))).astype(np.float32)
    table[:, 2] = 7
    weights = rng.uniform(0.5, 2, 999)
    mean, scale = column_moments(Rows(table), weights)
    exact = np.average(table.astype(float), axis=0, weights=weights)
    np.testing.assert_allclose(mean, exact, rtol=1e-12)
    deviation = np.sqrt(
        np.average((table.astype(float) - exact) ** 2, axis=0, weights=weights)
    )
    np.testing.assert_allclose(scale[:2], deviation[:2], rtol=1e-10)
    assert scale[2] == 1


def test_token_ids_reach_an_embedding():
    """input_dtype="int64" hands integers to modules that look them up."""

    class Bag(nn.Module):
        def __init__(self, n_classes):
            super().__init__()
            self.bag = nn.EmbeddingBag(10, n_classes)

        def forward(self, ids):
            return self.bag(ids)

    rng = np.random.default_rng(0)
    ids = rng.integers(0, 10, (200, 5))
    y = (ids == 3).any(axis=1)
    student = net(module=Bag, input_dtype="int64", max_epochs=40, lr=0.1)
    assert student.fit(ids, y).score(ids, y) > 0.9


def test_modules_that_write_into_their_input_harm_nobody():
    """A module working in place does not change the caller's array."""

    class InPlace(Linear):
        def forward(self, x):
            return super().forward(x.mul_(2))

    table = X.astype(np.float32)
    before = table.copy()
    net(module=InPlace).fit(table, Y).predict(table)
    np.testing.assert_array_equal(table, before)


def test_existing_module_is_copied():
    """A module passed as an object is the start of each fit and is never trained."""
    module = nn.Linear(4, 3)
    before = copy.deepcopy(module.state_dict())
    student = net(module=module)
    first = weights_of(student.fit(X, Y))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert torch.equal(first, weights_of(student.fit(X, Y)))
    assert not torch.equal(first[:12], before["weight"].flatten())
    # From the same start, another seed means another order of rows.
    other_order = net(module=module, random_state=1).fit(X, Y)
    assert not torch.equal(first, weights_of(other_order))
    other = clone(student)
    assert other.module is not module
    assert torch.equal(first, weights_of(other.fit(X, Y)))
    frozen = net(module=module, max_epochs=0).fit(X, Y)
    assert torch.equal(frozen.module_.weight, module.weight)


def test_set_module_to_an_object():
    """set_params takes a module object, on a fresh net too."""
    student = net().set_params(module=nn.Linear(4, 3))
    assert student.fit(X, Y).predict(X).shape == (150,)


class WithLogits(torch.nn.Linear):
    """Return an output object, as models of Hugging Face do."""

    kind = SimpleNamespace

    def forward(self, x):
        return self.kind(loss=None, logits=super().forward(x), hidden_states=None)


class WithDictionary(WithLogits):
    kind = dict


@pytest.mark.parametrize("module", [WithLogits, WithDictionary])
def test_outputs_with_logits(module, rng):
    """An output object is trained and read by its logits."""
    X = rng.normal(size=(60, 3)).astype(np.float32)
    targets = rng.dirichlet(np.ones(2), size=60)

    def fit(kind):
        student = StudentNet(
            lambda: kind(3, 2), max_epochs=3, random_state=0, callbacks=[Listener()]
        )
        return student.fit_soft(X, targets, classes=[0, 1])

    student, plain = fit(module), fit(torch.nn.Linear)
    np.testing.assert_array_equal(student.predict_proba(X), plain.predict_proba(X))
    assert student.forward(X).shape == (60, 2)


class Listener(Callback):
    """Have batches shown one by one, which is another way through an epoch."""

    def on_batch_end(self, net, y_pred=None, **kwargs):
        assert y_pred.shape[1] == 2


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss,
        nn.BCEWithLogitsLoss,
        nn.MSELoss,
        nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none"),
    ],
    ids=str,
)
def test_own_criterion(criterion):
    """Losses of torch work with weights, and probabilities come out."""
    student = net(criterion=criterion, max_epochs=25, lr=0.02)
    student.fit(X, Y, sample_weight=1.0 + (Y == 1))
    proba = student.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert (proba >= 0).all()
    assert student.score(X, Y) > 0.9


def test_modules_that_return_log_probabilities():
    """Log-probabilities need no setting: their softmax is what they stand for."""

    def factory(n_features, n_classes):
        return nn.Sequential(nn.Linear(n_features, n_classes), nn.LogSoftmax(dim=1))

    student = net(module=factory, criterion=nn.KLDivLoss).fit(X, Y)
    with torch.no_grad():
        expected = student.module_(torch.tensor(X, dtype=torch.float32)).exp()
    np.testing.assert_allclose(student.predict_proba(X), expected, atol=1e-6)


def test_modules_that_return_probabilities():
    """predict_nonlinearity=None takes probabilities as they are and checks them."""

    def factory(n_features, n_classes):
        return nn.Sequential(nn.Linear(n_features, n_classes), nn.Softmax(dim=1))

    student = net(module=factory, predict_nonlinearity=None, criterion=nn.MSELoss)
    student.fit(X, Y)
    with torch.no_grad():
        expected = student.module_(torch.tensor(X, dtype=torch.float32))
    np.testing.assert_allclose(student.predict_proba(X), expected, atol=1e-6)
    wrong = net(module=Linear, predict_nonlinearity=None).fit(X, Y)
    with pytest.raises(ValueError, match="predict_nonlinearity must lead to probab"):
        wrong.predict_proba(X)


def test_torch_loader_gives_the_same_kind_of_net():
    """iterator_train=DataLoader works, with its own parameters."""
    student = net(
        iterator_train=DataLoader,
        iterator_valid=DataLoader,
        iterator_train__drop_last=True,
        max_epochs=20,
        lr=0.01,
    )
    assert student.fit(X, Y).score(X, Y) > 0.9
    assert student.history[-1, "train_batch_count"] == 150 // 32


def test_batches_cover_the_rows_evenly():
    """Every row once per epoch, sizes differing by one at most, new orders."""
    from skadistill.student._batches import TableDataset, TableLoader

    data = TableDataset(Rows(np.arange(10.0)[:, None]), torch.arange(10))
    loader = TableLoader(data, 4, shuffle=True)
    first, second = [[b[1].tolist() for b in loader] for _ in range(2)]
    assert sorted(map(len, first)) == [3, 3, 4]
    assert sorted(i for batch in first for i in batch) == list(range(10))
    assert first != second
    assert [b[0].flatten().tolist() for b in TableLoader(data, 5)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
    ]
    assert len(list(TableLoader(data, 4, drop_last=True))) == 2


def test_round_trips(tmp_path):
    """pickle, joblib and deepcopy keep the answers; unfitted nets travel too."""
    student = net().fit(X, Y)
    proba = student.predict_proba(X)
    joblib.dump(student, tmp_path / "student.joblib")
    copies = [
        pickle.loads(pickle.dumps(student)),
        joblib.load(tmp_path / "student.joblib"),
        copy.deepcopy(student),
    ]
    for other in copies:
        np.testing.assert_array_equal(other.predict_proba(X), proba)
        assert other.get_params()["device"] == "auto"
        assert torch.equal(weights_of(other.fit(X, Y)), weights_of(student))
    fresh = pickle.loads(pickle.dumps(net()))
    assert torch.equal(weights_of(fresh.fit(X, Y)), weights_of(student))
    student.trim_for_prediction()
    np.testing.assert_array_equal(student.predict_proba(X), proba)


def test_weights_can_be_saved_and_loaded(tmp_path):
    """As in skorch, save_params and load_params carry weights and scaling."""
    student = net().fit(X, Y)
    student.save_params(f_params=tmp_path / "weights.pt")
    other = net(random_state=1, max_epochs=1).fit(X + 100, Y)
    other.load_params(f_params=tmp_path / "weights.pt")
    np.testing.assert_array_equal(other.predict_proba(X), student.predict_proba(X))
    assert other.get_params()["device"] == "auto"


def test_grid_search_over_module_and_epochs():
    """module__* and max_epochs are searched in two processes, in a pipeline."""
    pipe = make_pipeline(StandardScaler(), net(lr=0.02))
    grid = {
        "studentnet__module__hidden_sizes": [(), (8,)],
        "studentnet__max_epochs": [1, 15],
    }
    search = GridSearchCV(pipe, grid, cv=3, n_jobs=2).fit(X, Y)
    assert search.best_params_["studentnet__max_epochs"] == 15
    best = search.best_estimator_[-1]
    assert best.n_iter_ == 15
    hidden = search.best_params_["studentnet__module__hidden_sizes"]
    # A layer, a rectifier and dropout per width.
    assert len(best.module_[1]) == 1 + 3 * len(hidden)


def test_weights_are_routed(metadata_routing):
    """With metadata routing on, requested weights reach the net's fit."""
    student = net(max_epochs=20)
    student.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
    weight = np.where(Y == 2, 0.0, 1.0)
    result = cross_validate(
        student, X, Y, params={"sample_weight": weight}, return_estimator=True
    )
    assert all((e.predict(X) != 2).mean() > 0.9 for e in result["estimator"])


def test_warm_start_and_partial_fit_continue():
    """Both go on from the weights there are; a cold fit starts anew."""
    student = net().fit(X, Y)
    start = weights_of(student)
    student.set_params(warm_start=True, max_epochs=0).fit(X, Y)
    assert torch.equal(weights_of(student), start)
    student.set_params(max_epochs=2).fit(X, Y)
    assert not torch.equal(weights_of(student), start)
    assert student.n_iter_ == 2
    assert len(student.history) == 6
    part = net(max_epochs=3).partial_fit(X[:60], Y[:60], classes=[0, 1, 2])
    assert part.predict_proba(X).shape == (150, 3)
    part.partial_fit(X[60:], Y[60:])
    assert len(part.history) == 6


def test_mixed_precision_on_this_machine():
    """amp="bf16" computes in bfloat16 and still answers in float32."""
    seen = set()

    class Spy(Linear):
        def forward(self, x):
            out = super().forward(x)
            seen.add(out.dtype)
            return out

    student = net(module=Spy, standardize=True, amp="bf16", max_epochs=30, lr=0.1)
    student.set_params(device="cpu")
    assert student.fit(X, Y).score(X, Y) > 0.9
    assert seen == {torch.bfloat16}
    assert student.predict_proba(X).dtype == np.float32


def test_half_precision_needs_no_accelerator():
    """amp="fp16" trains on the CPU as well, without scaling."""
    student = net(module=Linear, standardize=True, amp="fp16", max_epochs=30, lr=0.1)
    student.set_params(device="cpu")
    assert student.fit(X, Y).score(X, Y) > 0.9


def test_compile_reaches_the_module():
    """compile=True hands the module and compile__* to torch.compile."""
    student = net(compile=True, compile__backend="eager", max_epochs=1).fit(X, Y)
    assert type(student.module_).__name__ == "OptimizedModule"
    assert student.predict(X).shape == (150,)


def test_optimizers_with_closures():
    """LBFGS, which needs the loss several times per step, fits in full batches."""
    student = net(
        optimizer=torch.optim.LBFGS,
        lr=0.5,
        batch_size=-1,
        max_epochs=10,
        module__hidden_sizes=(),
    )
    assert student.fit(X, Y).score(X, Y) > 0.9


def test_optimizer_parameters_reach_the_optimizer():
    """optimizer__* and lr arrive; fused kernels can be declined."""
    student = net(optimizer__weight_decay=0.5, lr=0.125, optimizer__fused=False)
    group = student.fit(X, Y).optimizer_.param_groups[0]
    assert group["weight_decay"] == 0.5
    assert group["lr"] == 0.125
    assert group["fused"] is False


def test_optimizers_without_fused_kernels():
    """Where torch refuses a fused optimizer, the plain one is used."""

    class Refusing(torch.optim.AdamW):
        def __init__(self, params, *, fused=None, **kwargs):
            super().__init__(params, **kwargs)
            if fused:
                for group in self.param_groups:
                    group["fused"] = True
                raise RuntimeError("no fused kernel here")

    student = net(optimizer=Refusing, max_epochs=20, lr=0.01).fit(X, Y)
    assert not student.optimizer_.param_groups[0]["fused"]
    assert student.score(X, Y) > 0.9


def test_idle_weights_shrink_by_the_same_factor():
    """AdamW's decay follows lr and steps; a number of one's own wins."""
    short = net(max_epochs=50, lr=0.02).fit(X, Y).optimizer_.param_groups[0]
    long = net(max_epochs=100, lr=0.02).fit(X, Y).optimizer_.param_groups[0]
    assert short["weight_decay"] == pytest.approx(3 / (0.02 * 250))
    assert long["weight_decay"] == pytest.approx(short["weight_decay"] / 2)
    tiny = net(max_epochs=1, lr=1e-3).fit(X, Y).optimizer_.param_groups[0]
    assert tiny["weight_decay"] == 1.0


def test_learning_rate_warms_up_and_falls():
    """The cosine starts low, peaks at lr and ends near zero; constant stays."""
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    net(optimizer=Watched, lr=0.1, max_epochs=20).fit(X, Y)
    assert rates[0] < 0.02
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert rates[-1] < 0.001
    rates.clear()
    net(optimizer=Watched, lr=0.1, lr_schedule="constant").fit(X, Y)
    assert set(rates) == {0.1}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("amp", [False, "bf16", "fp16"])
def test_cuda(amp):
    """device="auto" trains on the GPU, leaves its generator alone, travels back."""
    before = torch.cuda.get_rng_state()
    student = net(amp=amp, max_epochs=30, lr=0.02, module__dropout=0.2).fit(X, Y)
    assert torch.equal(before, torch.cuda.get_rng_state())
    assert next(student.module_.parameters()).is_cuda
    assert student.score(X, Y) > 0.9
    assert pickle.loads(pickle.dumps(student)).score(X, Y) > 0.9
    if not amp:
        proba = student.predict_proba(X)
        student.module_.cpu()
        student.set_params(device="cpu")
        np.testing.assert_allclose(student.predict_proba(X), proba, atol=1e-5)


def test_unfitted_net_says_so():
    """Predicting before fitting raises scikit-learn's NotFittedError."""
    with pytest.raises(NotFittedError, match="This StudentNet instance is not fitted"):
        net().predict(X)


@pytest.mark.parametrize(
    ("n_samples", "params", "share"),
    [(200, {}, 0.1), (5000, {}, None), (200, {"module__dropout": 0.3}, 0.3)],
)
def test_few_rows_are_learned_with_dropout(n_samples, params, share):
    """Below 5000 rows some hidden units are left out, unless the user says how many."""
    X = np.random.default_rng(0).normal(size=(n_samples, 3))
    student = StudentNet(max_epochs=1, random_state=0, **params)
    student.fit(X, X[:, 0] > 0)
    shares = [m.p for m in student.module_.modules() if type(m).__name__ == "Dropout"]
    assert set(shares) == (set() if share is None else {share})
