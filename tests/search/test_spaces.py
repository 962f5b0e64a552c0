"""Networks whose layers are parameters, and the spaces over them."""

import pytest
import torch
from torch import nn

from skadistill.search import LayeredCNN, LayeredMLP, cnn_space, layernas, mlp_space


def shapes(module, kind):
    return [tuple(m.weight.shape) for m in module.modules() if isinstance(m, kind)]


def test_widths_follow_their_numbers_and_zero_skips():
    """Layers are sorted by number, not by name; a width of 0 leaves no layer."""
    module = LayeredMLP(4, 3, width_10=5, width_2=7, width_1=6, width_3=0)
    assert shapes(module, nn.Linear) == [(6, 4), (7, 6), (5, 7), (3, 5)]


def test_all_layers_skipped_is_a_linear_student():
    """Nothing is left but the map from columns to logits."""
    assert shapes(LayeredMLP(4, 3, width_1=0), nn.Linear) == [(3, 4)]


def test_blocks_have_their_width_and_kernel():
    """The kernel goes with the block of the same number and keeps the image's size."""
    module = LayeredCNN(
        (3, 16, 16), 10, width_2=8, kernel_2=5, width_1=4, width_3=0, kernel_3=3
    )
    assert shapes(module, nn.Conv2d) == [(4, 3, 3, 3), (8, 4, 5, 5)]
    assert module(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert sum(isinstance(m, nn.MaxPool2d) for m in module.modules()) == 2


def test_a_single_pixel_is_not_pooled():
    """More blocks than halvings of the image still give logits."""
    module = LayeredCNN((1, 4, 4), 2, **{f"width_{i}": 3 for i in range(1, 6)})
    assert module(torch.zeros(2, 1, 4, 4)).shape == (2, 2)
    assert sum(isinstance(m, nn.MaxPool2d) for m in module.modules()) == 2


@pytest.mark.parametrize(
    "build",
    [
        lambda: LayeredMLP(4, 3, width=8),
        lambda: LayeredMLP(4, 3, depth_1=8),
        lambda: LayeredCNN((1, 4, 4), 3, width_x=8),
        lambda: LayeredCNN((1, 4, 4), 3, kernel_=3),
        lambda: LayeredCNN((1, 4, 4), 3, dropout=0.5),
    ],
)
def test_a_misspelt_layer_is_an_error(build):
    """A parameter that would be ignored is refused, like any unknown argument."""
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        build()


def test_a_space_without_skips_has_no_zero():
    """skip=False keeps the depth; the prefix goes before each name."""
    space = mlp_space(2, (8, 16), skip=False, prefix="student__module__")
    assert space == {
        "student__module__width_1": [8, 16],
        "student__module__width_2": [8, 16],
    }
    assert all(
        option["width_2"] for option in cnn_space(2, skip=False, prefix="")["block_2"]
    )


def test_the_first_block_of_a_cnn_is_never_skipped():
    """Every other block can be: once, not once a kernel."""
    space = cnn_space(3, widths=(4, 8), kernels=(3, 5, 7), prefix="")
    assert [len(options) for options in space.values()] == [6, 7, 7]
    assert all(option["width_1"] for option in space["block_1"])
    assert [option["width_3"] for option in space["block_3"]].count(0) == 1


def test_a_cnn_space_is_one_that_layernas_takes():
    """The largest network that fits is found where wider is better."""
    space = cnn_space(2, widths=(4, 8), prefix="")

    def params(candidate):
        settings = {k: v for option in candidate.values() for k, v in option.items()}
        module = LayeredCNN((3, 8, 8), 10, **settings)
        return sum(p.numel() for p in module.parameters())

    result = layernas(
        lambda candidates: [params(c) for c in candidates],
        params,
        space,
        max_size=1500,
        n_buckets=None,
    )
    everything = [
        params({"block_1": a, "block_2": b})
        for a in space["block_1"]
        for b in space["block_2"]
    ]
    assert result.best_size == max(c for c in everything if c <= 1500)
