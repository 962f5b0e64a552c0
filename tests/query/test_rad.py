import numpy as np
import pytest

from skadistill.query import RADSampler
from skadistill.query._game.regret import regret_inclusion
from skadistill.query._measures import (
    entropy_gain,
    least_confident_gain,
    margin_gain,
)
from skadistill.query.game import robust_distribution


def test_robust_sampler_plays_the_game_on_the_margins(tools):
    """Rows come with probability b p_i for m = teacher error x rows."""
    proba = tools.make_proba(40)
    gains = margin_gain(proba).astype(np.float32)
    p = robust_distribution(gains, 0.25 * 40, 6).p
    tools.assert_marginals(RADSampler(), proba, 6, 6 * p, teacher_error=0.25)


@pytest.mark.parametrize(
    ("sampler", "gain"),
    [
        (RADSampler(gain="entropy"), entropy_gain),
        (RADSampler(gain="least_confident"), least_confident_gain),
        (RADSampler(gain=lambda proba: proba[:, 0] ** 2), lambda p: p[:, 0] ** 2),
    ],
    ids=["entropy", "least confident", "callable"],
)
def test_robust_sampler_takes_other_gains(tools, sampler, gain):
    """Names and functions of the probabilities measure what a row is worth."""
    proba = tools.make_proba(30)
    p = robust_distribution(gain(proba).astype(np.float32), 9.0, 4).p
    tools.assert_marginals(sampler, proba, 4, 4 * p, teacher_error=0.3)


def test_robust_sampler_caps_where_the_game_would_repeat_rows(tools):
    """Where b p_i would exceed 1 the capped game's probabilities are used."""
    proba = tools.make_proba(30)
    gains = margin_gain(proba).astype(np.float32)
    assert robust_distribution(gains, 1.5).p.max() > 1 / 12
    p = robust_distribution(gains, 1.5, 12).p
    tools.assert_marginals(RADSampler(1.5), proba, 12, 12 * p, n_draws=500)


@pytest.mark.parametrize("settings", [{"teacher_error": None}, {"teacher_error": 0.3}])
def test_robust_sampler_falls_back_to_the_regret_game(tools, settings):
    """Without an estimate, or on request, inclusions are max(0, 1 - v/g)."""
    proba = tools.make_proba(30)
    sampler = RADSampler("auto" if settings["teacher_error"] is None else None)
    q = regret_inclusion(margin_gain(proba).astype(np.float32), 7)
    tools.assert_marginals(sampler, proba, 7, q, **settings)
    pool = tools.BlockPool(proba, **settings)
    sampler.query(pool, 7, np.random.default_rng(0))
    assert pool.report["n_mistakes"] is None
    assert "water_level" not in pool.report


@pytest.mark.parametrize(
    ("n_mistakes", "teacher_error", "expected"),
    [
        ("auto", 0.25, 10.0),
        ("auto", 0.0, 0.0),
        ("auto", 1.0, np.nextafter(40, 0)),
        (7, 0.25, 7.0),
        (7.5, None, 7.5),
        (np.float32(3), None, 3.0),
        (0, 0.25, 0.0),
        (1_000, 0.25, np.nextafter(40, 0)),
    ],
)
def test_robust_sampler_reports_what_it_played(
    tools, n_mistakes, teacher_error, expected
):
    """m, the water level and the support are left in the round's record."""
    proba = tools.make_proba(40)
    pool = tools.BlockPool(proba, teacher_error=teacher_error)
    RADSampler(n_mistakes).query(pool, 3, np.random.default_rng(0))
    gains = margin_gain(proba).astype(np.float32)
    game = robust_distribution(gains, expected, 3)
    assert pool.report["n_mistakes"] == expected
    assert pool.report["water_level"] == game.value
    assert pool.report["n_support"] == game.n_support
    assert pool.report["gain_mean"] == pytest.approx(gains.mean(), rel=1e-5)
    assert pool.report["gain_max"] == gains.max()


def test_robust_sampler_does_not_depend_on_the_order_of_rows(tools):
    """Permuting the pool permutes the distribution, ties included."""
    proba = tools.make_proba(24)
    proba[3:9] = proba[3]
    order = np.random.default_rng(1).permutation(24)
    p = robust_distribution(margin_gain(proba).astype(np.float32), 3.0, 10).p
    np.testing.assert_allclose(p[3:9], p[3], rtol=1e-6)
    tools.assert_marginals(RADSampler(3), proba, 10, 10 * p, n_draws=500)
    tools.assert_marginals(RADSampler(3), proba[order], 10, 10 * p[order], n_draws=500)


@pytest.mark.parametrize("cost", [0.0, 1.0])
@pytest.mark.parametrize("n_mistakes", [0, 5, 19.5, None])
def test_robust_sampler_is_even_on_equal_rows(tools, n_mistakes, cost):
    """A student that tells no row from another leaves a simple random draw."""
    sampler = RADSampler(n_mistakes, wrong_label_cost=cost)
    proba = np.full((20, 4), 0.25, dtype=np.float32)
    tools.assert_marginals(sampler, proba, 5, np.full(20, 0.25), n_draws=600)
    one_hot = np.tile(np.eye(4, dtype=np.float32)[0], (20, 1))
    tools.assert_marginals(sampler, one_hot, 5, np.full(20, 0.25), n_draws=600)


@pytest.mark.parametrize("n_queries", [2, 20])
def test_wrong_labels_that_cost_are_played_with_their_cost(tools, n_queries):
    """wrong_label_cost counts in units of the largest gain; the cap is solved too."""
    proba = tools.make_proba(30)
    gains = margin_gain(proba).astype(np.float32)
    losses = np.full(30, 2.0 * gains.max())
    game = robust_distribution(gains, 8.0, n_queries, losses=losses)
    sampler = RADSampler(8, wrong_label_cost=2.0)
    tools.assert_marginals(sampler, proba, n_queries, n_queries * game.p, n_draws=500)
    pool = tools.BlockPool(proba)
    sampler.query(pool, n_queries, np.random.default_rng(0))
    assert pool.report["water_level"] == pytest.approx(game.value, rel=1e-6)
    without = robust_distribution(gains, 8.0, n_queries)
    assert np.abs(without.p - game.p).max() > 0.01


@pytest.mark.parametrize("n_queries", [1, 3, 5, 9])
@pytest.mark.parametrize("error", [None, 0.0, 0.3, 0.95])
@pytest.mark.parametrize("cost", [0.0, 0.7])
def test_rows_without_gain_come_last(tools, n_queries, error, cost):
    """With few rows of positive gain the draw still has its size."""
    proba = np.tile([1.0, 0.0, 0.0], (10, 1))
    proba[[1, 4, 8]] = [0.5, 0.3, 0.2]
    sampler = RADSampler(wrong_label_cost=cost)
    rows = tools.ask(sampler, proba, n_queries, teacher_error=error)
    if error in (None, 0.0):
        assert len({1, 4, 8} & set(rows)) == min(n_queries, 3)


def test_probabilities_a_hair_above_one_are_no_error(tools):
    """Softmax in single precision may round 1 up; the gain is then 0, not negative."""
    proba = np.array([[1 + 1e-7, 0.0], [0.5, 0.5], [1 + 2e-7, 0.0]], dtype=np.float32)
    assert proba.max() > 1
    for error in (None, 0.5):
        assert tools.ask(RADSampler(), proba, 1, teacher_error=error) == [1]


def test_tiny_entropies_are_no_error(tools):
    """Gains near the smallest float32 leave a distribution that sums to 1."""
    proba = np.zeros((50, 2), dtype=np.float32)
    proba[:, 1] = np.geomspace(1e-45, 1e-38, 50)
    proba[:, 0] = 1
    for n_mistakes in (0, 1, 49, 49.99):
        sampler = RADSampler(n_mistakes, gain="entropy")
        assert len(tools.ask(sampler, proba, 10)) == 10


def test_ten_thousand_rows_stay_within_the_support(tools):
    """On a larger pool no row outside the support is ever asked."""
    proba = tools.make_proba(10_000)
    gains = margin_gain(proba).astype(np.float32)
    game = robust_distribution(gains, 1_000.0, 300)
    assert 1_000 < game.n_support < 10_000
    rows = tools.ask(RADSampler(), proba, 300, teacher_error=0.1)
    assert (game.p[rows] > 0).all()


def test_parameters_can_be_set(tools):
    """set_params changes what query does."""
    sampler = RADSampler()
    assert sampler.get_params() == {
        "n_mistakes": "auto",
        "gain": "margin",
        "wrong_label_cost": 0.0,
    }
    sampler.set_params(n_mistakes=4, gain="entropy")
    pool = tools.BlockPool(tools.make_proba())
    sampler.query(pool, 3, np.random.default_rng(0))
    assert pool.report["n_mistakes"] == 4
    expected = entropy_gain(tools.make_proba()).max()
    assert pool.report["gain_max"] == pytest.approx(expected, rel=1e-6)


def test_a_student_that_answers_nan_is_named(tools):
    """NaN probabilities are reported with their row."""
    proba = np.full((5, 2), 0.5)
    proba[3] = np.nan
    for error in (None, 0.2):
        with pytest.raises(ValueError, match=r"^gains must be finite .* for row 3;"):
            tools.ask(RADSampler(), proba, 2, teacher_error=error)


@pytest.mark.parametrize(
    ("sampler", "parameter"),
    [
        (RADSampler("many"), "n_mistakes"),
        (RADSampler(-1), "n_mistakes"),
        (RADSampler(gain="badge"), "gain"),
        (RADSampler(wrong_label_cost=-0.5), "wrong_label_cost"),
        (RADSampler(wrong_label_cost=np.nan), "wrong_label_cost"),
    ],
)
def test_a_bad_parameter_is_named(tools, sampler, parameter):
    """Parameters are checked by their table when the sampler is used."""
    message = f"The '{parameter}' parameter of RADSampler must be"
    with pytest.raises(ValueError, match=message):
        tools.ask(sampler, tools.make_proba(10), 2, teacher_error=0.1)
