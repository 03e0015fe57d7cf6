r"""ShuffleNet v2 with the paper's 1x width on ImageNet-1k.

    python -m recipes.imagenet_shufflenet_v2 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

https://arxiv.org/abs/1807.11164 trains as ShuffleNet's paper does, https://arxiv.org/abs/1707.01083, section 4: 300,000
steps of 1,024 images, and a rate that falls from 0.5 to 0 on a line.
Differs from them: crops are torchvision's, where the papers say only that theirs change the scale less.
Published: 69.4 % of the validation images, by Table 8 of the paper, which has the error.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="shufflenet_v2_x1_0",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=240,
    batch_size=1024,
    optimizer="momentum",
    learning_rate=0.5,
    schedule="polynomial(power=1.0)",
    weight_decay=4e-5,
)

if __name__ == "__main__":
    main(RECIPE)
