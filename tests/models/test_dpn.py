"""What only dual path networks have: channels that are added to, and channels that are appended."""

import keras
import numpy as np
import pytest

from kerascnn import models, registry
from kerascnn.serve import fold
from tools import golden

SMALL = {"input_shape": (32, 32, 3), "num_classes": 3, "depths": (2, 2), "growth": (4, 8), "widths": (16, 32)}
SMALL |= {"bottleneck": 16, "groups": 4}


@pytest.mark.parametrize(("name", "depth"), [("dpn68", 68), ("dpn92", 92), ("dpn98", 98), ("dpn131", 131)])
def test_layers_are_as_many_as_the_name_says(name, depth):
    assert 3 * sum(registry.lookup(name).spec.depths) + 2 == depth


def test_the_table_of_the_paper():
    # Table 1 of the paper: DPN-92's 3x3, channels that are added to and what each block appends, by stage.
    spec = registry.lookup("dpn92").spec
    assert [spec.bottleneck * 2**i for i in range(4)] == [96, 192, 384, 768]
    assert (spec.groups, spec.widths, spec.growth) == (32, (256, 512, 1024, 2048), (16, 32, 24, 128))


def test_a_block_adds_to_the_first_channels_and_appends_to_the_rest():
    model = golden.fill(models.dpn68(**SMALL))
    assert [model.get_layer(f"stage1_block{j}_concat").output.shape[-1] for j in (1, 2)] == [16 + 3 * 4, 16 + 4 * 4]
    assert model.get_layer("stage2").output.shape[-1] == 32 + 4 * 8
    names = ("stage1_block1_concat", "stage1_block2_conv3", "stage1_block2_concat")
    before, branch, after = map(
        np.asarray,
        keras.Model(model.input, [model.get_layer(name).output for name in names])(golden.images((32, 32, 3))),
    )
    np.testing.assert_allclose(after[..., :16], before[..., :16] + branch[..., :16], atol=1e-5)
    np.testing.assert_array_equal(after[..., 16:], np.concatenate([before[..., 16:], branch[..., 16:]], -1))


def test_two_last_convolutions_give_what_one_gives():
    one, two = golden.fill(models.dpn68(**SMALL)), golden.fill(models.dpn68b(**SMALL))
    for layer in two.layers:
        if layer.name.endswith("_conv4"):
            continue
        weights = one.get_layer(layer.name).get_weights()
        if layer.name.endswith("_conv3"):
            growth = two.get_layer(layer.name.replace("conv3", "conv4"))
            growth.set_weights([weights[0][..., layer.filters :]])
            weights = [weights[0][..., : layer.filters]]
        layer.set_weights(weights)
    images = golden.images((32, 32, 3))
    np.testing.assert_allclose(one(images), two(images), atol=1e-5)


def test_folded_it_has_fewer_norms():
    model = golden.fill(models.dpn68(**SMALL))
    folded, images = fold(model), golden.images((32, 32, 3))
    left = [layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    # Those behind concatenations stay, and those that are ahead of an activation alone.
    assert left and not any(name.endswith(("_norm1", "_norm2", "stem_norm")) for name in left)
    np.testing.assert_allclose(folded(images), model(images), atol=1e-4 * np.std(model(images)))


@pytest.mark.parametrize(
    "fields",
    [
        {"output_stride": 8, "norm": "none"},
        {"drop_path": 0.2, "activation": "maxout", "norm": "group", "rematerialize": True},
    ],
    ids=lambda fields: fields["norm"],
)
def test_switches(fields):
    model = models.dpn48b(**SMALL | {"depths": (2, 1, 1), "growth": (4, 4, 4), "widths": (16, 16, 16)}, **fields)
    assert model.get_layer("stage3").output.shape[1] == (4 if "output_stride" in fields else 2)
    assert np.isfinite(model(golden.images((32, 32, 3)), training=True)).all()
    acts = {name: model.get_layer(name).get_config().get("activation") for name in ("stem_act", "head_act")}
    assert acts == {"stem_act": "silu", "head_act": "silu"}
    assert models.Classifier.from_config(model.get_config()).to_json() == model.to_json()


def test_a_wrong_number_of_stages_is_said():
    with pytest.raises(ValueError, match="dpn68: widths must be 2 numbers, one for each of depths"):
        models.dpn68(depths=(1, 1))
    with pytest.raises(ValueError, match="dpn68: growth must be 2 numbers, one for each of depths"):
        models.dpn68(depths=(1, 1), widths=(8, 8))
