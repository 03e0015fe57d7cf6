r"""ResNet-50 on ImageNet-1k in 90 epochs, with batches of 8,192.

    python -m recipes.imagenet_resnet50_goyal --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows P. Goyal et al., https://arxiv.org/abs/1706.02677, section 5.1: a rate of 0.1 for each 256 images, five epochs
of warm-up, a tenth of the rate after 30, 60 and 80 epochs, the last norm of each block starting at zero. With n times
fewer images a step, take a rate n times lower.
Differs from the paper: the warm-up begins at 0, where the paper's begins at 0.1; batch norm sees the whole
batch, and 32 images in the paper.
Published: 76.26 % of the validation images, in Table 1 of the paper (23.74 % errors, the mean of five runs).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnet50",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=90,
    batch_size=8192,
    optimizer="nesterov",
    learning_rate=3.2,  # 0.1 for each 256 images
    schedule="multistep(epochs=(30, 60, 80))",
    warmup_epochs=5,
    weight_decay=1e-4,
)

if __name__ == "__main__":
    main(RECIPE)
