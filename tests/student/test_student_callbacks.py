"""skorch's callbacks, ours to keep working, and interrupts."""

import pickle
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split

from skadistill.student import StudentNet

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


def net(**kwargs):
    defaults = {"max_epochs": 5, "batch_size": 32, "random_state": 0, "lr": 0.01}
    return StudentNet(**defaults | kwargs)


def weights_of(student):
    return torch.cat([p.detach().flatten() for p in student.module_.parameters()])


class Recorder(Callback):
    """Note every hook."""

    def __init__(self):
        self.seen = []

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.seen.append(("train_begin", len(X), len(y)))

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.seen.append(("batch_begin", training))

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        self.seen.append(("batch_end", len(batch[0]), batch[1].dtype.kind))
        assert np.isfinite(net.history[-1, "batches", -1, "train_loss"])

    def on_grad_computed(self, net, named_parameters, **kwargs):
        assert all(p.grad is not None for _, p in named_parameters)
        self.seen.append(("grad",))

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        self.seen.append(("epoch_end", len(dataset_train)))

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.seen.append(("train_end", len(X), len(y)))


def test_history_without_callbacks():
    """Epoch, loss, time and number of batches are recorded; losses fall."""
    student = net(max_epochs=10).fit(X, Y)
    losses = student.history[:, "train_loss"]
    assert len(losses) == student.n_iter_ == 10
    assert losses[-1] < losses[0]
    assert student.history[-1, "train_batch_count"] == 5
    assert student.history[-1, "dur"] > 0
    assert student.history[:, "epoch"] == list(range(1, 11))
    assert len(student.history[-1, "batches"]) == 1


def test_listening_changes_nothing_but_the_record():
    """A net watched batch by batch is the same net, with its batches on record."""
    plain, watched = net().fit(X, NAMES), net(callbacks=[Recorder()]).fit(X, NAMES)
    assert torch.equal(weights_of(plain), weights_of(watched))
    np.testing.assert_allclose(
        plain.history[:, "train_loss"], watched.history[:, "train_loss"], rtol=1e-6
    )
    assert len(watched.history[-1, "batches"]) == 5
    seen = watched.callbacks[0].seen
    epoch = [("batch_begin", True), ("grad",), ("batch_end", 30, "U")] * 5
    assert seen == [
        ("train_begin", 150, 150),
        *[*epoch, ("epoch_end", 150)] * 5,
        ("train_end", 150, 150),
    ]


@pytest.mark.parametrize("caching", [True, False])
def test_scoring_callbacks_know_labels(caching):
    """Accuracy on training and validation rows is that of named classes."""
    scores = [
        EpochScoring(
            "accuracy",
            lower_is_better=False,
            name=name,
            on_train=on_train,
            use_caching=caching,
        )
        for name, on_train in [("train_acc", True), ("valid_acc", False)]
    ]
    student = net(
        callbacks=scores, train_split=ValidSplit(5, stratified=True), max_epochs=15
    ).fit(X, NAMES)
    assert student.history[-1, "train_acc"] > 0.85
    assert student.history[-1, "valid_acc"] > 0.85
    assert student.history[-1, "valid_loss"] < student.history[0, "valid_loss"]


def test_scoring_of_soft_targets_uses_the_likeliest_label():
    """Under soft targets a scorer compares with the teacher's first choice."""
    scoring = EpochScoring("accuracy", lower_is_better=False, on_train=True, name="a")
    targets = 0.7 * np.eye(3)[Y] + 0.1
    student = net(callbacks=[scoring], max_epochs=15)
    student.fit_soft(X, targets, classes=["a", "b", "c"])
    assert student.history[-1, "a"] > 0.85


def test_batch_scoring_and_frames():
    """Scores in mid-training on a frame raise no warning about names."""
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcd"))
    callbacks = [
        BatchScoring("accuracy", lower_is_better=False, name="batch", on_train=True),
        EpochScoring("accuracy", name="epoch", on_train=True, use_caching=False),
    ]
    student = net(callbacks=callbacks, max_epochs=12).fit(frame, NAMES)
    assert student.history[-1, "batch"] > 0.8


def test_predefined_split():
    """A validation set of raw rows and labels is encoded like the training rows."""
    valid = Dataset(X[::3], NAMES[::3])
    student = net(train_split=predefined_split(valid), max_epochs=15).fit(X, NAMES)
    assert student.history[-1, "valid_loss"] < 0.7


def test_early_stopping_ends_in_good_order():
    """EarlyStopping ends the fit, on_train_end included, without an exception."""
    recorder = Recorder()
    stopping = EarlyStopping(monitor="train_loss", patience=2, threshold=10)
    student = net(callbacks=[stopping, recorder], max_epochs=50).fit(X, Y)
    assert student.n_iter_ == 3
    assert recorder.seen[-1][0] == "train_end"
    assert student.predict(X).shape == (150,)


def test_ctrl_c_passes_through(ctrl_c):
    """A signal during training leaves fit as KeyboardInterrupt, also in a callback."""

    class Signal(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                ctrl_c()

    student = net(callbacks=[Signal()])
    with pytest.raises(KeyboardInterrupt):
        student.fit(X, Y)
    assert len(student.history) == 2
    assert student.predict(X).shape == (150,)
    student.set_params(callbacks=None).fit(X, Y)
    assert torch.equal(weights_of(student), weights_of(net().fit(X, Y)))


def test_early_stopping_works_in_a_thread():
    """A callback ends the training in good order wherever the fit runs."""
    stopping = EarlyStopping(monitor="train_loss", patience=2, threshold=10)
    student = net(callbacks=[stopping], max_epochs=50)
    thread = threading.Thread(target=student.fit, args=(X, Y))
    thread.start()
    thread.join()
    assert student.n_iter_ == 3


@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_soft"])
def test_interrupts_in_a_module_pass_through(method):
    """What the module raises leaves every fitting method."""

    class Rude(torch.nn.Linear):
        def __init__(self, n_features, n_classes):
            super().__init__(n_features, n_classes)

        def forward(self, x):
            raise KeyboardInterrupt

    fit = getattr(net(module=Rude), method)
    soft = {"classes": [0, 1, 2]} if method == "fit_soft" else {}
    with pytest.raises(KeyboardInterrupt):
        fit(X, np.eye(3)[Y] if soft else Y, **soft)


def test_checkpoint_and_pickle_in_mid_training(tmp_path):
    """Checkpoint saves weights and whole nets while training goes on."""
    checkpoint = Checkpoint(
        dirname=tmp_path, monitor="train_loss_best", f_pickle="net.pkl"
    )
    student = net(callbacks=[checkpoint]).fit(X, Y)
    proba = student.predict_proba(X)
    other = net(max_epochs=0).fit(X, Y)
    other.load_params(f_params=tmp_path / "params.pt")
    np.testing.assert_array_equal(other.predict_proba(X), proba)
    with open(tmp_path / "net.pkl", "rb") as stream:
        saved = pickle.load(stream)
    assert saved._run is None
    np.testing.assert_array_equal(saved.predict_proba(X), proba)


def test_schedulers_replace_the_cosine():
    """With an LRScheduler among the callbacks the learning rate is its own."""
    scheduler = LRScheduler(
        torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5, event_name="lr"
    )
    student = net(callbacks=[scheduler], max_epochs=3, lr=0.08).fit(X, Y)
    assert student.history[:, "lr"] == pytest.approx([0.08, 0.04, 0.02])
    stepwise = LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR,
        max_lr=0.1,
        total_steps=50,
        step_every="batch",
    )
    net(callbacks=[stepwise]).fit(X, Y)


def test_gradients_can_be_clipped():
    """GradientNormClipping sees gradients before the step."""
    options = {"optimizer": torch.optim.SGD, "lr": 1.0, "lr_schedule": "constant"}
    start = weights_of(net(max_epochs=0, **options).fit(X, Y))
    clip = GradientNormClipping(1e-6)
    end = weights_of(net(callbacks=[clip], max_epochs=1, **options).fit(X, Y))
    assert 0 < (end - start).norm() < 1e-5


def test_callbacks_are_parameters():
    """callbacks__* reach callbacks; parameters survive clone and do not change."""
    student = net(callbacks=[("stop", EarlyStopping(monitor="train_loss"))])
    student.set_params(callbacks__stop__patience=1, callbacks__stop__threshold=10)
    assert clone(student).fit(X, Y).n_iter_ == 2
    assert "callbacks__print_log" in student.get_params()
    assert net(callbacks="disable").fit(X, Y).n_iter_ == 5


def test_verbose_prints_the_table(capsys):
    """verbose=1 prints one line per epoch, verbose=0 nothing."""
    net(max_epochs=2).fit(X, Y).fit(X, Y)
    assert capsys.readouterr().out == ""
    net(max_epochs=2, verbose=1).fit(X, Y)
    assert "train_loss" in capsys.readouterr().out


def test_setting_module_parameters_on_a_fitted_net():
    """As in skorch, a new module__* starts a new module, with the data's scaling."""
    student = net().fit(X, Y)
    student.set_params(module__hidden_sizes=(5,))
    assert student.module_[1][0].out_features == 5
    assert student.predict_proba(X).shape == (150, 3)
    student.set_params(lr=0.5)
    assert student.optimizer_.param_groups[0]["lr"] == 0.5


def test_accelerate_mixin():
    """AccelerateMixin on top trains where Accelerate chooses, and learns the same."""
    accelerate = pytest.importorskip("accelerate")
    from skorch.hf import AccelerateMixin

    class AcceleratedStudent(AccelerateMixin, StudentNet):
        pass

    accelerator = accelerate.Accelerator(cpu=True)
    student = AcceleratedStudent(
        accelerator=accelerator, max_epochs=20, lr=0.01, random_state=0
    )
    student.fit_soft(X, np.eye(3)[Y], classes=[0, 1, 2], sample_weight=1.0 + Y)
    assert student.score(X, Y) > 0.9
    plain = StudentNet(max_epochs=20, lr=0.01, random_state=0, device="cpu")
    plain.fit_soft(X, np.eye(3)[Y], classes=[0, 1, 2], sample_weight=1.0 + Y)
    # Not to the bit: Accelerate orders the rows of an epoch in its own way.
    assert (student.predict(X) == plain.predict(X)).mean() > 0.95
