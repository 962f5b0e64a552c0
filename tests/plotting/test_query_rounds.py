"""QueryRoundsDisplay: the rows drawn are those asked, in their rounds."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.plotting import QueryRoundsDisplay

POINTS = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]


@pytest.fixture
def display():
    return QueryRoundsDisplay(POINTS, [2, 0, -1, 1, 2])


def fit(n_features):
    problem = make_noisy_teacher_problem(
        10, 40, 10, n_features=n_features, random_state=0
    )
    distiller = ActiveDistiller(
        problem.teacher,
        LogisticRegression(),
        budget=6,
        teacher_checks=CheckPolicy(error_rate=0.2),
        query_size=3,
        random_state=0,
    )
    distiller.fit(problem.X_labeled, problem.y_labeled, X_unlabeled=problem.X_pool)
    return distiller, problem


def test_the_artists_hold_the_rows_of_their_round(display, pyplot):
    """Each round has its rows and its name; given rows are drawn on top."""
    display.plot()
    rows = {
        round_: np.ma.getdata(artist.get_offsets())[:, 0].tolist()
        for round_, artist in display.scatters_.items()
    }
    assert rows == {-1: [2.0], 1: [3.0], 2: [0.0, 4.0], 0: [1.0]}
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["never asked", "round 1", "round 2", "given"]
    colors = {tuple(s.get_facecolor()[0]) for s in display.scatters_.values()}
    assert len(colors) == 4


def test_it_draws_where_it_is_told(display, pyplot):
    """Axes that are passed are drawn on, and named."""
    figure, axes = pyplot.subplots(1, 2)
    assert display.plot(ax=axes[0]) is display
    assert display.figure_ is figure
    assert not axes[1].collections
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("x1", "x2")


def test_the_frame_is_the_drawings_twin(display):
    """One row each, with its place and its round."""
    pytest.importorskip("pandas")
    assert display.frame.columns.tolist() == ["x1", "x2", "round"]
    assert display.frame.to_numpy()[:, 2].tolist() == [2, 0, -1, 1, 2]
    np.testing.assert_array_equal(display.frame[["x1", "x2"]], POINTS)


def test_two_columns_are_drawn_as_they_are():
    """Rows of X come first, then those of X_unlabeled, as the distiller counts."""
    distiller, problem = fit(n_features=2)
    display = QueryRoundsDisplay.from_estimator(
        distiller, problem.X_labeled, X_unlabeled=problem.X_pool
    )
    np.testing.assert_array_equal(display.points[:10], problem.X_labeled)
    np.testing.assert_array_equal(display.points[10:], problem.X_pool)
    np.testing.assert_array_equal(display.rounds, distiller.labeled_round_)
    assert np.bincount(display.rounds + 1).tolist() == [34, 10, 3, 3]


def test_more_columns_are_projected():
    """By principal components, or by the transformer given."""
    distiller, problem = fit(n_features=5)
    X, _ = problem.partially_labeled()
    display = QueryRoundsDisplay.from_estimator(distiller, X)
    np.testing.assert_allclose(display.points, PCA(2).fit_transform(X), atol=1e-6)
    assert display.axis_names == ("component 1", "component 2")
    with pytest.raises(ValueError, match=r"shape \(50, 5\) and two columns"):
        QueryRoundsDisplay.from_estimator(distiller, X, projection=StandardScaler())


def test_other_rows_than_those_of_the_fit_are_refused():
    """A forgotten pool would give rows the rounds of others."""
    distiller, problem = fit(n_features=2)
    with pytest.raises(ValueError, match=r"got 10 rows, but .* fitted with 50"):
        QueryRoundsDisplay.from_estimator(distiller, problem.X_labeled)
