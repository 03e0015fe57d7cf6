import collections

import keras
import pytest

from kerascnn import models


def activations(model):
    return collections.Counter(
        layer.activation.__name__ for layer in model.layers if isinstance(layer, keras.layers.Activation)
    )


@pytest.mark.parametrize(
    ("build", "widths", "head", "hidden"),
    [
        (models.mobilenet_v3_large, (16, 24, 40, 112, 160), 960, 1280),
        (models.mobilenet_v3_small, (16, 16, 24, 48, 96), 576, 1024),
        (models.mobilenet_v3_large_075, (16, 24, 32, 88, 120), 720, 1280),
        (models.mobilenet_v3_small_075, (16, 16, 24, 40, 72), 432, 1024),
    ],
)
def test_widths(build, widths, head, hidden):
    model = build(input_shape=(32, 32, 3))
    assert tuple(model.get_layer(f"stage{i}").output.shape[-1] for i in range(1, 6)) == widths
    assert model.get_layer("head_conv").filters == head
    assert model.get_layer("dense1").units == hidden
    assert build(num_classes=0, input_shape=(32, 32, 3)).output_shape == (None, hidden)


def test_activations_are_the_papers():
    assert activations(models.mobilenet_v3_large(input_shape=(32, 32, 3))) == {
        "relu": 11 + 8,  # six blocks, of which the first does not expand; eight gates
        "hard_silu": 1 + 18 + 2,  # what Keras calls hard_swish
        "hard_sigmoid": 8,
    }


def test_an_override_takes_the_place_of_hard_swish_alone():
    counts = activations(models.mobilenet_v3_large(input_shape=(32, 32, 3), activation="silu"))
    assert counts == {"relu": 19, "silu": 21, "hard_sigmoid": 8}


def test_minimal_has_small_kernels_and_no_gates():
    model = models.mobilenet_v3_large_minimal(input_shape=(32, 32, 3))
    assert set(activations(model)) == {"relu"}
    assert {layer.kernel_size for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)} == {(3, 3)}
    assert not any("_se_" in layer.name for layer in model.layers)


def test_the_gates_have_a_quarter_in_eights():
    model = models.mobilenet_v3_large(input_shape=(32, 32, 3))
    assert model.get_layer("stage3_block1_se_conv1").kernel.shape == (1, 1, 72, 24)
    assert model.get_layer("stage5_block2_se_conv1").kernel.shape == (1, 1, 960, 240)


def test_rows_can_be_given():
    rows = [[3, 16, 16, False, "RE", 2], [3, 48, 24, True, "HS", 2]]
    model = models.mobilenet_v3_small(rows=rows, input_shape=(32, 32, 3))
    assert model.overrides["rows"] == rows
    assert [layer.name for layer in model.layers if layer.name.startswith("stage") and "_" not in layer.name] == [
        "stage1",
        "stage2",
        "stage3",
    ]
    with pytest.raises(ValueError, match="rows must be"):
        models.mobilenet_v3_small(rows=[[3, 16, 16, False, "XX", 2]])
