from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadistill.query._game.capped import solve_capped, solve_capped_with_losses
from skadistill.query.game import robust_distribution

steady = partial(settings, settings.get_profile("steady"))


@steady(max_examples=130)
@given(st.data())
def test_capped_game_solves_the_linear_program(games, data):
    """With p_i <= 1/b, b from 1 to n, value and p are exact."""
    game = data.draw(games.played_games(with_queries=True))
    solution = robust_distribution(game.gains, game.n_mistakes, game.n_queries)
    games.assert_solves(solution, game)


@steady(max_examples=90)
@given(st.data())
def test_capped_game_with_losses_solves_the_linear_program(games, data):
    """With both a cap and losses, value and p are exact."""
    game = data.draw(games.played_games(with_losses=True, with_queries=True))
    solution = robust_distribution(
        game.gains, game.n_mistakes, game.n_queries, losses=game.losses
    )
    games.assert_solves(solution, game)


@pytest.mark.parametrize("n_queries", [20, 30, 39])
def test_the_capped_solvers_agree_without_losses(n_queries):
    """Losses of 0 leave the game without losses, and both keep the cap."""
    gains = np.random.default_rng(0).random(40)
    p, value = solve_capped(gains, gains.max(), 3.5, n_queries)
    other, same = solve_capped_with_losses(gains, 3.5, n_queries, np.zeros(40))
    assert value == pytest.approx(same, rel=1e-9)
    np.testing.assert_allclose(p, other, atol=1e-9)
    assert p.max() == 1 / n_queries


def test_capped_game_without_a_binding_cap_is_the_plain_game():
    """Where b p <= 1 already holds, the cap changes nothing."""
    gains = np.random.default_rng(5).random(1_000).astype(np.float32)
    free = robust_distribution(gains, 100.0)
    capped = robust_distribution(gains, 100.0, 20)
    np.testing.assert_array_equal(capped.p, free.p)
    assert capped.value == free.value


@pytest.mark.parametrize("losses", [None, np.full(4, 0.5)])
@pytest.mark.parametrize("n_queries", [1, 2, 3, 4])
def test_games_without_any_gain_are_played_evenly(n_queries, losses):
    """All gains 0: every row is as good, with or without cap and losses."""
    gains = np.zeros(4, dtype=np.float32)
    game = robust_distribution(gains, 1, n_queries, losses=losses)
    np.testing.assert_allclose(game.p, 0.25)
