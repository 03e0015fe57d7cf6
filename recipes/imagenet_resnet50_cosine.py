r"""ResNet-50 on ImageNet-1k in 100 epochs and one cosine.

    python -m recipes.imagenet_resnet50_cosine --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://github.com/google/flax/tree/main/examples/imagenet (configs/tpu.py): batches of 1,024, a rate of 0.1 for
each 256 images, five epochs of warm-up, then the cosine of https://arxiv.org/abs/1608.03983.
Differs from the project: convolutions that stride pad alike on all sides; batch norm sees the whole batch,
and 128 images there.
Published: 76.37 % of the validation images, by the project's README (TPU v3-8, 125,100 steps; 76.67 % on a TPU v2-32).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnet50",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(interpolation='bicubic')",
    test_crop="center(fraction=0.875, interpolation='bicubic', antialias=False)",
    augment="horizontal_flip",
    epochs=100,
    batch_size=1024,
    optimizer="nesterov",
    learning_rate=0.4,  # 0.1 for each 256 images
    schedule="cosine",
    warmup_epochs=5,
    weight_decay=1e-4,
)

if __name__ == "__main__":
    main(RECIPE)
