"""Forecasts of learning curves: bands that hold, and gains that never fall."""

import numpy as np
import pytest

from skadistill._statistics.forecast import Forecast, forecast_of


def make(n_labeled, scores, n_effective=400.0, **more):
    n = np.full(len(scores), n_effective)
    return Forecast(np.array(n_labeled), np.array(scores), n, n_labeled[-1], **more)


def test_a_forecast_rises_and_widens():
    """Medians grow with the labels, and the band is around them."""
    forecast = make([100, 200, 400], [0.7, 0.8, 0.86])
    bands = [forecast.after(n) for n in (0, 100, 500, 3000)]
    assert [b[0] for b in bands] == sorted(b[0] for b in bands)
    assert all(0 <= low < score < high <= 1 for score, low, high in bands)
    widths = [high - low for _, low, high in bands]
    assert widths[-1] > widths[0]


def test_more_rows_to_score_on_make_it_sharper():
    few = make([100, 200, 400], [0.7, 0.8, 0.86], 50.0).after(400)
    many = make([100, 200, 400], [0.7, 0.8, 0.86], 5000.0).after(400)
    assert many[2] - many[1] < few[2] - few[1]


def test_gains_are_small_once_the_curve_is_flat():
    """Not negative, and 0 for no label."""
    flat = make([100, 300, 900], [0.9, 0.9, 0.9], 3000.0)
    steep = make([100, 300, 900], [0.5, 0.7, 0.82], 3000.0)
    assert 0 <= flat.gain(300) < 0.005 < steep.gain(300)
    assert steep.gain(0) == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_scores_at_the_ends(share):
    """All or no row right: finite numbers, in range."""
    score, low, high = make([50, 100], [share, share], 20.0).after(100)
    assert 0 <= low <= score <= high <= 1


def test_a_census_is_a_point():
    """A score without sampling error still has the noise of training."""
    _, low, high = make([50, 100], [0.8, 0.85], np.inf).after(0)
    assert 0 < high - low < 0.06


@pytest.mark.parametrize(
    ("n_more", "params"),
    [(-1, {}), (float("nan"), {}), (10, {"level": 1.0}), (10, {"level": 0})],
)
def test_what_cannot_be_forecast_is_refused(n_more, params):
    """Fewer labels than now would be extrapolated beyond the first round."""
    forecast = make([100, 200], [0.8, 0.85])
    with pytest.raises(ValueError, match="level is" if params else "n_more is"):
        forecast.after(n_more, **params)
    if not params:
        with pytest.raises(ValueError, match="n_more is"):
            forecast.gain(n_more)


def test_a_flat_curve_after_two_rounds_is_a_band():
    """Neither rises to 1 nor falls below what was seen."""
    score, low, high = make([100, 120], [0.8, 0.8], 30.0).after(1000)
    assert 0.7 < low < score < high < 0.99


def record(**values):
    keys = {"student_score", "pool_agreement", "n_effective", "n_val"}
    return dict.fromkeys(keys) | {"n_paid": 50, "cost": 5.0} | values


def test_the_history_says_what_is_forecast():
    """Validation rows come first; one scored round is not enough."""
    rounds = [
        record(n_labeled=n, pool_agreement=0.8, n_effective=40.0) for n in (50, 100)
    ]
    last = record(n_labeled=150)
    assert forecast_of([rounds[0], last]) is None
    forecast = forecast_of([*rounds, last])
    assert forecast.score_name == "pool_agreement"
    assert forecast.n_now == 150
    assert forecast.cost_per_row == pytest.approx(0.1)
    scored = [r | {"student_score": 0.7, "n_val": 200} for r in [*rounds, last]]
    assert forecast_of(scored).score_name == "student_score"
    free = [r | {"cost": 0.0} for r in rounds]
    assert forecast_of([*free, last | {"cost": 0.0}]).cost_per_row is None


def test_texts_and_columns():
    """One line per number of labels, with its price."""
    forecast = make([100, 200], [0.8, 0.9], cost_per_row=0.02)
    columns = forecast.frame
    assert columns["n_more"] == [0, 100, 500, 1000]
    assert columns["cost"] == [0.0, 2.0, 10.0, 20.0]
    lines = repr(forecast).splitlines()
    assert lines[0] == "forecast of pool_agreement (median, 80 % band)"
    assert lines[1].startswith("now: 0.")
    assert lines[3].startswith("500 more labels for 10: 0.")


def covered(n_draws, seed=0):
    """Draw curves of the assumed form, rounds and ends; count ends in the band."""
    rng = np.random.default_rng(seed)
    inside = 0
    for _ in range(n_draws):
        first, exponent = rng.uniform(0.1, 0.5), rng.uniform(0.1, 1.5)
        floor = rng.uniform() * first
        n = np.array([100, 200, 300])
        errors = floor + (first - floor) * (n / 100.0) ** -exponent
        end = floor + (first - floor) * 9.0**-exponent + 0.008 * rng.standard_normal()
        noisy = errors + 0.008 * rng.standard_normal(3)
        seen = 1 - rng.binomial(300, np.clip(noisy, 0, 1)) / 300
        _, low, high = make(n.tolist(), seen, 300.0).after(600)
        inside += low <= 1 - end <= high
    return inside / n_draws


def test_bands_cover_what_they_say():
    """80 % within the tolerance of 150 draws."""
    assert 0.68 <= covered(150) <= 0.92


@pytest.mark.slow
def test_bands_cover_what_they_say_in_many_draws():
    """2,000 draws of curves that the forecast holds for possible: 80 %."""
    assert 0.75 <= covered(2000) <= 0.9
