"""Laws that hold for every game, whatever is at stake and whichever rows are capped."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skadistill.query._game.regret import regret_inclusion
from skadistill.query.game import robust_distribution

steady = partial(settings, settings.get_profile("steady"))


PLAYS = {
    "robust": lambda g, m, b: robust_distribution(g, m).p,
    "with losses": lambda g, m, b: robust_distribution(g, m, losses=np.sqrt(g)).p,
    "capped": lambda g, m, b: robust_distribution(g, m, b).p,
    "capped, losses": lambda g, m, b: robust_distribution(g, m, b, losses=np.sqrt(g)).p,
    "regret": lambda g, m, b: regret_inclusion(g, b),
}


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
class TestSymmetries:
    @steady(max_examples=60)
    @given(data=st.data())
    def test_permuting_rows_permutes_the_play(self, games, play, data):
        """Where a row stands in the file says nothing about it, ties included."""
        gains = data.draw(games.gain_arrays())
        m, n = data.draw(games.mistakes(gains)), gains.shape[0]
        b = data.draw(st.integers(1, n))
        order = np.array(data.draw(st.permutations(range(n))))
        games.assert_same_play(play(gains[order], m, b), play(gains, m, b)[order])

    def test_equal_gains_get_equal_probability(self, play):
        """Rows that tie at the border of the support share what is left."""
        p = play(np.array([1, 0.5, 0.5, 0.5, 0.1]), 0.0, 3)
        np.testing.assert_allclose(p[1:4], p[1], rtol=1e-12, atol=1e-15)
