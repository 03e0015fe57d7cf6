r"""Xception on ImageNet-1k.

    python -m recipes.imagenet_xception --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1610.02357, sections 4.2 to 4.4. It names no batch, no number of epochs and no smoothing;
they are those of Inception-v3, https://arxiv.org/abs/1512.00567, with which it compares. Its average has no decay named
either; crops are torchvision's.
Published: 79.0 % of the validation images with one crop, by Table 1 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="xception",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=299,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=100,
    batch_size=1600,
    optimizer="momentum",
    learning_rate=0.045,
    schedule="step(epochs=2, factor=0.94)",
    weight_decay=1e-5,
    label_smoothing=0.1,
    average="ema(decay=0.9999)",
)

if __name__ == "__main__":
    main(RECIPE)
