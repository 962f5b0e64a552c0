"""Usage, in the words of many servers, becomes money."""

import pytest

from skadistill.exceptions import TeacherError
from skadistill.llm._endpoint import Prices

PRICES = {"input": 1.0, "output": 10.0, "cached_input": 0.1, "cache_write": 1.25}


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}, 70.0),
        # Gemini and xAI: thoughts are in the total alone.
        ({"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 451}, 4060.0),
        ({"prompt_tokens": 50, "total_tokens": 60}, 150.0),
        # OpenAI, xAI, OpenRouter
        (
            {
                "prompt_tokens": 50,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 40},
            },
            34.0,
        ),
        (
            {
                "prompt_tokens": 50,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cache_write_tokens": 40},
            },
            80.0,
        ),
        # DeepSeek
        (
            {
                "prompt_tokens": 50,
                "completion_tokens": 2,
                "prompt_cache_hit_tokens": 30,
                "prompt_cache_miss_tokens": 20,
            },
            43.0,
        ),
        # Moonshot
        ({"prompt_tokens": 50, "completion_tokens": 2, "cached_tokens": 50}, 25.0),
        # Anthropic: the tokens of the cache are beside those of the input.
        (
            {
                "input_tokens": 10,
                "output_tokens": 2,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 40,
            },
            90.0,
        ),
        ({"input_tokens": 10, "output_tokens": 2}, 30.0),
        # What is no number of tokens counts as nothing.
        ({"prompt_tokens": None, "completion_tokens": "2", "total_tokens": None}, 0.0),
        ({"prompt_tokens": 5, "completion_tokens": -2, "total_tokens": 3}, 5.0),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 0,
                "prompt_tokens_details": None,
                "cached_tokens": 9,
            },
            0.5,
        ),
    ],
)
def test_all_that_can_be_billed_is_counted(usage, cost):
    """Hidden thoughts, reads of a cache and writes to it."""
    assert Prices(PRICES).of_usage(usage) == pytest.approx(cost / 1e6)


def test_prices_that_are_not_given():
    """Reads of a cache cost as input does; writes a quarter more, as at Anthropic."""
    usage = {"prompt_tokens": 100, "completion_tokens": 0}
    read = usage | {"prompt_cache_hit_tokens": 100}
    written = usage | {"prompt_tokens_details": {"cache_write_tokens": 100}}
    prices = Prices((2.0, 0.0))
    assert prices.of_usage(read) == pytest.approx(200 / 1e6)
    assert prices.of_usage(written) == pytest.approx(250 / 1e6)
    assert prices.most(100, 5) == pytest.approx(200 / 1e6)
    dear = Prices({"input": 2.0, "output": 0.0, "cache_write": 4.0})
    assert dear.most(100, 5) == dear.of_usage(written) == pytest.approx(400 / 1e6)


def test_unknown_prices_are_an_error():
    """A misspelled one would be ignored, and the money with it."""
    with pytest.raises(TeacherError, match="cache_write"):
        Prices({"input": 1.0, "output": 2.0, "cache_writes": 1.25})
