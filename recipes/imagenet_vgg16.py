r"""VGG-16 on ImageNet-1k.

    python -m recipes.imagenet_vgg16 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows K. Simonyan and A. Zisserman, https://arxiv.org/abs/1409.1556, section 3.1: configuration D, scale jitter, 74
passes, a rate that falls three times to a tenth.
Differs from the paper: the net is not begun with the layers of a shallower one: He's initialisation makes that needless
(https://arxiv.org/abs/1502.01852), and goes with channels of deviation 1, so they are divided by theirs; one crop from
the centre of images of 256 pixels; the rate falls when the loss of the validation images has had no new lowest value
for 5 epochs.
Published: 71.5 % of the validation images with one crop, as https://github.com/KaimingHe/deep-residual-networks has it
for VGG-16 (28.5 % errors). The paper has 74.4 % over whole images of 384 pixels (25.6 % errors, Table 3).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="vgg16",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="scale_jitter(shortest=(256, 512))",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip, pca",
    epochs=74,
    batch_size=256,
    optimizer="momentum",
    learning_rate=0.01,
    schedule="plateau(factor=0.1, patience=5, smallest=1e-3)",
    weight_decay=5e-4,
)

if __name__ == "__main__":
    main(RECIPE)
