r"""SqueezeNet on ImageNet-1k.

    python -m recipes.imagenet_squeezenet1_0 --data_dir=/data/tfds --precision=mixed_bfloat16

The net of https://arxiv.org/abs/1602.07360, and the numbers of its authors' solver,
https://github.com/forresti/SqueezeNet (SqueezeNet_v1.0/solver.prototxt as of commit 19c381d): 85,000 steps of 32 times
32 images.
Differs from it: images are flipped, keep their form when they become 256 pixels, are cut to 224 pixels, not 227, and
are divided by their deviation; kernels have Caffe's variance, from a normal distribution.
Published: 57.5 % of the validation images, by Table 2 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="squeezenet1_0",
    model_args="initializer='lecun_normal'",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="scale_jitter(shortest=(256, 256))",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=68,
    batch_size=1024,
    optimizer="momentum",
    learning_rate=0.08,
    schedule="polynomial(power=0.5)",
    weight_decay=2e-4,
)

if __name__ == "__main__":
    main(RECIPE)
