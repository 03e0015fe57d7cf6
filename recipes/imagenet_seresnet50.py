r"""SE-ResNet-50 on ImageNet-1k.

    python -m recipes.imagenet_seresnet50 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows J. Hu et al., https://arxiv.org/abs/1709.01507, section 5.1: 100 epochs, batches of 1,024, a rate of 0.6 that
falls to a tenth every 30 epochs.
Differs from the paper: the net strides in its 3x3 convolutions, where the authors' strides in its first 1x1
(legacy_seresnet50 is theirs); batch norm sees the whole batch, where theirs sees the images of one GPU. The paper names
no weight decay: it is that of the ResNets.
Published: 76.71 % of the validation images with one crop, in Table 2 of the paper (23.29 % errors). The weights at
https://github.com/hujie-frank/SENet were trained for longer, and have 77.63 %.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="seresnet50",
    model_args="zero_init_residual=False",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    preprocess="channel_mean",
    epochs=100,
    batch_size=1024,
    optimizer="momentum",
    learning_rate=0.6,
    schedule="step(epochs=30)",
    weight_decay=1e-4,
)

if __name__ == "__main__":
    main(RECIPE)
