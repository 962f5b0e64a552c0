"""LayerNASSearchCV: a scikit-learn search that keeps to a size limit."""

import os

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller, StudentNet
from skadistill.checking import CheckPolicy
from skadistill.exceptions import LedgerCopyWarning
from skadistill.ledger import MemoryLedger
from skadistill.model_selection import PartiallyLabeledSplit
from skadistill.search import (
    LayeredCNN,
    LayeredMLP,
    LayerNASSearchCV,
    cnn_space,
    layernas,
    mlp_space,
)
from skadistill.search._size import count_params

X, Y = load_iris(return_X_y=True)


class Rated(ClassifierMixin, BaseEstimator):
    """A classifier whose score is a table of its parameters, and that counts fits."""

    fits: list = []

    def __init__(self, a=0, b=0, c=0, fail=False):
        self.a, self.b, self.c, self.fail = a, b, c, fail

    def fit(self, X, y, sample_weight=None):
        if self.fail:
            raise ValueError("asked to fail")
        self.fits.append((self.a, self.b, self.c))
        self.classes_ = np.unique(y)
        self.weight_ = None if sample_weight is None else len(sample_weight)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))

    def score(self, X, y):
        return self.a * 4 + self.b + self.c / 8


@pytest.fixture(autouse=True)
def _no_fits_yet():
    Rated.fits.clear()


def total(estimator):
    return estimator.a + estimator.b + estimator.c


LAYERS = {"a": [0, 1, 2], "b": [0, 1, 2], "c": [0, 1, 2]}


def search(estimator=None, layers=LAYERS, **settings):
    settings = {"max_size": 4, "size": total, "cv": 2, **settings}
    estimator = Rated() if estimator is None else estimator
    return LayerNASSearchCV(estimator, layers, **settings)


def test_it_chooses_what_layernas_would():
    """Candidates, their order, sizes, steps and the choice are those of layernas."""
    model = search().fit(X, Y)
    expected = layernas(
        lambda candidates: [4 * c["a"] + c["b"] + c["c"] / 8 for c in candidates],
        lambda c: sum(c.values()),
        LAYERS,
        max_size=4,
    )
    assert model.cv_results_["params"] == expected.candidates
    np.testing.assert_array_equal(model.cv_results_["size"], expected.sizes)
    np.testing.assert_array_equal(model.cv_results_["step"], expected.steps)
    np.testing.assert_array_equal(model.cv_results_["mean_test_score"], expected.scores)
    assert model.best_index_ == expected.best_index
    assert model.best_params_ == {"a": 2, "b": 2, "c": 0}
    assert (model.best_size_, model.best_score_) == (4.0, 10.0)
    assert model.n_buckets_ == 8
    assert (model.best_estimator_.a, model.best_estimator_.c) == (2, 0)


def test_no_candidate_is_trained_twice_and_the_estimate_bounds_them():
    """Each is fitted once a fold, the choice once more."""
    model = search(cv=3).fit(X, Y)
    counts = {fit: Rated.fits.count(fit) for fit in Rated.fits}
    best = tuple(model.best_params_.values())
    assert counts.pop(best) == 3 + 1
    assert set(counts.values()) == {3}
    n_candidates = len(model.cv_results_["params"])
    assert len(counts) + 1 == n_candidates <= model.estimate_evaluations() == 27
    assert search(n_buckets=1).estimate_evaluations() == 9
    assert search(max_evaluations=12).estimate_evaluations() == 12


def test_an_earlier_search_is_not_trained_again():
    """A larger search trains only what is new, and finds the same as from scratch."""
    earlier = search(max_evaluations=10).fit(X, Y).cv_results_
    scratch = search(max_evaluations=20).fit(X, Y)
    Rated.fits.clear()
    model = search(max_evaluations=20, previous=earlier, refit=False).fit(X, Y)
    old = {tuple(params.values()) for params in earlier["params"]}
    assert not old & set(Rated.fits)
    assert len(Rated.fits) < 2 * 20
    assert set(model.cv_results_) == set(scratch.cv_results_)
    for name, column in scratch.cv_results_.items():
        if "time" not in name:
            assert np.all(np.asarray(model.cv_results_[name]) == np.asarray(column))
    assert model.best_index_ == scratch.best_index_
    assert model.cv_results_["rank_test_score"].dtype.kind == "i"


def test_a_search_of_known_candidates_trains_the_choice_alone():
    """scikit-learn's search needs one training; it is that of the choice."""
    first = search().fit(X, Y)
    Rated.fits.clear()
    again = search(previous=first.cv_results_, refit=False).fit(X, Y)
    assert Rated.fits == [(2, 2, 0)] * 2
    assert again.best_params_ == first.best_params_
    assert len(again.cv_results_["params"]) == len(first.cv_results_["params"])


def test_max_evaluations_is_kept():
    """Candidates trained never exceed it, refinement included."""
    model = search(max_evaluations=10).fit(X, Y)
    assert len(model.cv_results_["params"]) == 10
    assert model.n_buckets_ == 1


def test_results_have_the_columns_of_a_grid_search():
    """Every column of GridSearchCV is there, plus size and step; all of one length."""
    results = search(return_train_score=True).fit(X, Y).cv_results_
    grid = GridSearchCV(Rated(), LAYERS, cv=2, return_train_score=True).fit(X, Y)
    assert set(results) == set(grid.cv_results_) | {"size", "step"}
    assert {len(column) for column in results.values()} == {len(results["params"])}


def test_the_choice_keeps_the_limit_when_larger_candidates_score_better():
    """Under "largest" the first candidates break the limit; ranks still name them."""
    model = search(default="largest", max_size=1).fit(X, Y)
    results = model.cv_results_
    assert results["size"][results["rank_test_score"].argmin()] > 1
    assert model.best_size_ == 1
    assert model.best_params_ == {"a": 1, "b": 0, "c": 0}


def test_no_limit_is_no_limit():
    """Without max_size the best of all is chosen."""
    assert search(max_size=None).fit(X, Y).best_params_ == {"a": 2, "b": 2, "c": 2}


def test_equal_scores_go_to_the_smaller_candidate():
    """An option that changes nothing but the size is not chosen."""
    layers = {"a": [0, 1], "c": [2, 1, 0]}
    scoring = make_scorer(lambda y, p: 1.0)
    assert search(layers=layers, scoring=scoring).fit(X, Y).best_size_ == 0


def test_a_callable_refit_sees_the_sizes():
    """It may choose by its own rule among all candidates."""

    def cheapest(results):
        return int(results["size"].argmin())

    model = search(refit=cheapest).fit(X, Y)
    assert model.best_size_ == model.cv_results_["size"].min()
    assert total(model.best_estimator_) == model.best_size_


def test_several_metrics_need_a_name():
    """With a name the search follows that metric; without, it refuses."""
    scoring = {
        "worst": lambda e, X, y: -e.a,
        "best": lambda e, X, y: e.a + e.b,
    }
    assert search(scoring=scoring, refit="worst").fit(X, Y).best_params_["a"] == 0
    assert search(scoring=scoring, refit="best").fit(X, Y).best_params_["a"] == 2
    Rated.fits.clear()
    with pytest.raises(ValueError, match="which one to maximize, got refit=True"):
        search(scoring=scoring).fit(X, Y)
    assert not Rated.fits


def test_a_scorer_of_several_metrics_needs_a_name_as_well():
    """A function that returns a dict is found out at the first layer."""

    def both(estimator, X, y):
        return {"one": estimator.a, "two": -estimator.a}

    assert search(scoring=both, refit="two").fit(X, Y).best_params_["a"] == 0
    with pytest.raises(
        ValueError, match=r"names none of the metrics in .*mean_test_one"
    ):
        search(scoring=both, refit=True).fit(X, Y)


def test_without_refit_there_is_a_choice_but_no_estimator():
    """As in GridSearchCV."""
    model = search(refit=False).fit(X, Y)
    assert model.best_params_ == {"a": 2, "b": 2, "c": 0}
    assert not hasattr(model, "best_estimator_")


def test_a_candidate_that_fails_is_the_worst():
    """Its score is NaN with scikit-learn's warning, and the search goes on."""
    layers = {"fail": [False, True], "a": [0, 1]}
    with pytest.warns() as caught:
        model = search(layers=layers, max_size=None).fit(X, Y)
    assert any("fits failed" in str(w.message) for w in caught)
    assert model.best_params_ == {"fail": False, "a": 1}
    assert np.isnan(model.cv_results_["mean_test_score"]).any()


def test_all_layers_see_the_same_folds():
    """A splitter that would draw anew at every call is asked once."""

    class Fold(Rated):
        def score(self, X, y):
            return float(X[:, 0].sum())

    splitter = ShuffleSplit(2, random_state=np.random.RandomState(0))
    results = search(Fold(), cv=splitter).fit(X, Y).cv_results_
    assert len(set(results["split0_test_score"])) == 1


def test_options_that_are_dicts_set_several_parameters():
    """A layer's name is then free; the parameters appear in the results."""
    layers = {"block": [{"a": 0, "b": 2}, {"a": 2, "b": 0}], "c": [0, 1]}
    model = search(layers=layers, max_size=2).fit(X, Y)
    assert model.best_params_ == {"a": 2, "b": 0, "c": 0}
    assert model.cv_results_["param_b"].tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": {}}, "at least one layer"),
        ({"layers": {"a": []}}, "layer 'a' has no options"),
        ({"layers": {"a": [1], "color": [1]}}, r"'color' sets \{'color': 1\}"),
        ({"layers": {"x": [{"a": 1}, {"d": 2}]}}, r"layer 'x' sets \{'d': 2\}"),
        ({"layers": {"x": [{"a": 1}], "a": [2]}}, "'x' and 'a' both set .* 'a'"),
        ({"max_size": -1}, "'max_size' parameter"),
        (
            {"max_size": 0.5, "layers": {"a": [1, 2], "b": [1]}},
            "max_size=0.5 cannot be met.* has size 2",
        ),
        ({"max_evaluations": 8}, "max_evaluations=8 is too few.* may need 9"),
        ({"size": "gold"}, "'size' parameter"),
        ({"default": "middle"}, "'default' parameter"),
        ({"size": lambda e: None}, "return a finite number"),
    ],
)
def test_bad_input_is_refused_before_any_training(settings, message):
    """Each mistake is named, and not a single fit is spent on finding it."""
    with pytest.raises(ValueError, match=message):
        search(**settings).fit(X, Y)
    assert not Rated.fits


def test_an_unknown_size_is_refused_before_any_training():
    """LogisticRegression has no network whose parameters could be counted."""
    model = search(LogisticRegression(), {"C": [1, 2]}, size="params")
    with pytest.raises(TypeError, match="size of LogisticRegression is not known"):
        model.fit(X, Y)


NET = StudentNet(LayeredMLP, standardize=True, max_epochs=2, random_state=0)


def test_a_student_is_searched_by_its_parameters():
    """Sizes are those of the networks; the fitted choice has as many parameters."""
    model = search(NET, mlp_space(2, (4, 8)), max_size=70, size="params").fit(X, Y)
    results = model.cv_results_
    for params, size in zip(results["params"], results["size"], strict=True):
        assert count_params(clone(NET).set_params(**params), X, Y) == size
    fitted = sum(p.numel() for p in model.best_estimator_.module_.parameters())
    assert fitted == model.best_size_ <= 70


def test_depth_and_kernels_of_a_small_cnn_are_searched():
    """Blocks are skipped or set width and kernel together, under a limit of work."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(24, 1, 6, 6)).astype(np.float32)
    net = StudentNet(LayeredCNN, max_epochs=1, random_state=0)
    model = search(net, cnn_space(2, (2, 4)), max_size=1500, size="macs", n_buckets=1)
    model.fit(images, np.arange(24) % 2)
    assert model.best_size_ <= 1500
    assert set(model.best_params_) == {
        f"module__{name}_{i}" for name in ("width", "kernel") for i in (1, 2)
    }


def test_a_pipeline_of_scikit_learn_is_searched():
    """A plain MLP behind a scaler, two jobs, the same result as with one."""
    pipeline = make_pipeline(
        StandardScaler(), MLPClassifier(solver="lbfgs", max_iter=400, random_state=0)
    )
    layers = {"mlpclassifier__hidden_layer_sizes": [(2,), (4,), (8,)]}
    settings = {"layers": layers, "max_size": 40, "size": "params"}
    one = search(pipeline, **settings).fit(X, Y)
    with parallel_config(backend="threading"):
        two = search(pipeline, n_jobs=2, **settings).fit(X, Y)
    assert one.best_size_ == two.best_size_ <= 40
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    assert one.score(X, Y) > 0.8


def test_latency_is_a_size():
    """Measured seconds are the sizes, whatever they are here."""
    layers = {"module__width_1": [4, 8]}
    model = search(NET, layers, max_size=60, size="latency").fit(X, Y)
    assert (model.cv_results_["size"] > 0).all()


class Teacher:
    """Answer from the true labels and remember every row asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, rows):
        self.asked += [row.tobytes() for row in np.asarray(rows)]
        truth = {row.tobytes(): label for row, label in zip(X, Y, strict=True)}
        return np.eye(3)[[truth[row.tobytes()] for row in np.asarray(rows)]]


PARTLY = np.where(np.arange(150) % 3 == 0, Y, -1)
DISTILLED = {"student__C": [0.1, 1.0, 10.0], "query_size": [6, 12]}


def distiller(teacher, **settings):
    return ActiveDistiller(
        teacher,
        LogisticRegression(max_iter=200),
        budget=12,
        teacher_checks=CheckPolicy(error_rate=0.1),
        random_state=0,
        **settings,
    )


def distill_search(model):
    return search(
        model, DISTILLED, max_size=None, size=lambda e: 1, cv=PartiallyLabeledSplit(2)
    )


def test_labels_are_paid_once_for_the_whole_search():
    """Without a ledger of its own, candidates, folds and the refit share a new one."""
    teacher = Teacher()
    model = distill_search(distiller(teacher)).fit(X, PARTLY)
    n_fits = 2 * len(model.cv_results_["params"]) + 1
    distinct = set(teacher.asked)
    assert len(teacher.asked) == len(distinct) == len(model.ledger_) < 12 * n_fits
    assert model.best_estimator_.ledger_ is model.ledger_
    assert model.estimator.ledger is None


def test_a_ledger_of_ones_own_is_used():
    """The search makes none; a second search pays nothing."""
    teacher, ledger = Teacher(), MemoryLedger()
    model = distill_search(distiller(teacher, ledger=ledger)).fit(X, PARTLY)
    assert not hasattr(model, "ledger_")
    n_asked = len(teacher.asked)
    assert n_asked == len(ledger) > 0
    model.fit(X, PARTLY)
    assert len(teacher.asked) == n_asked


def test_a_distiller_within_a_pipeline_shares_its_labels_too():
    """The ledger is found below the step's name; the user's pipeline stays as it is."""
    teacher = Teacher()
    pipeline = make_pipeline("passthrough", distiller(teacher))
    layers = {"activedistiller__student__C": [0.1, 1.0]}
    model = search(
        pipeline, layers, max_size=None, size=lambda e: 1, cv=PartiallyLabeledSplit(2)
    ).fit(X, PARTLY)
    assert len(teacher.asked) == len(set(teacher.asked)) == len(model.ledger_)
    assert pipeline[-1].ledger is None


def test_the_estimator_is_put_back_when_a_search_fails():
    """Nothing of the shared ledger stays on the search's parameters."""
    own = distiller(Teacher())
    layers = {"student__C": [1.0, -1.0]}
    splits = PartiallyLabeledSplit(2)
    model = search(own, layers, size=lambda e: 1, cv=splits, error_score="raise")
    with pytest.raises(ValueError, match="'C' parameter"):
        model.fit(X, PARTLY)
    assert model.estimator is own
    assert own.ledger is None
    assert not hasattr(model, "_meter")


def test_other_processes_are_told_that_the_ledger_is_a_copy():
    """A pickled search carries its ledger as a copy that warns when used."""
    import pickle

    model = distill_search(distiller(Teacher())).fit(X, PARTLY)
    copy = pickle.loads(pickle.dumps(model.ledger_))
    copy._process = ("its parent", os.getppid())
    with pytest.warns(LedgerCopyWarning):
        copy.claim(np.zeros(1, dtype="V16"), "nobody", [0, 1])


def test_metadata_is_routed_and_sliced(metadata_routing):
    """Weights asked for by the estimator reach it, cut to the fold and whole."""
    model = search(Rated().set_fit_request(sample_weight=True), cv=KFold(3))
    model.fit(X, Y, sample_weight=np.ones(150))
    assert model.best_estimator_.weight_ == 150


def test_callbacks_see_one_task_a_layer():
    """Each batch of candidates is a task of the search; each fit one below it."""
    pytest.importorskip("sklearn.callback", reason="came with scikit-learn 1.9")

    class Recorder:
        def __init__(self):
            self.ended = []

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.ended.append(context.task_name)

        def teardown(self, estimator, context):
            pass

    recorder = Recorder()
    model = search().set_callbacks(recorder).fit(X, Y)
    assert recorder.ended.count("layer") == 3
    assert recorder.ended.count("search") == 1
    n_fits = 2 * len(model.cv_results_["params"])
    assert recorder.ended.count("candidate-split-evaluation") == n_fits


def test_the_search_is_a_scikit_learn_estimator():
    """It clones, shows its parameters, takes the estimator's tags and predicts."""
    model = search(NET, mlp_space(1, (4,)), max_size=None, size="params")
    copy = clone(model)
    assert copy.get_params()["max_size"] is None
    assert copy.layers == model.layers
    assert sklearn.base.is_classifier(model)
    fitted = model.fit(X, Y)
    assert fitted.predict(X).shape == (150,)
    assert fitted.n_features_in_ == 4
    np.testing.assert_array_equal(fitted.classes_, [0, 1, 2])
