r"""ResNeXt-50 (32x4d) on ImageNet-1k.

    python -m recipes.imagenet_resnext50 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1611.05431 and its code, https://github.com/facebookresearch/ResNeXt, which is that of
https://github.com/facebookarchive/fb.resnet.torch: 100 epochs, and a tenth of the rate every 30. Weight decay is for
all weights, as there.
Differs from them: nothing that is known, but for batch norm, which sees the whole batch, and 32 images there.
Published: 77.8 % of the validation images with one crop, by the project's README and in Table 3 of the paper (22.2 %
errors).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnext50_32x4d",
    model_args="zero_init_residual=False",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(interpolation='bicubic')",
    test_crop="center(fraction=0.875, interpolation='bicubic')",
    augment="color_jitter(brightness=0.4, contrast=0.4, saturation=0.4), pca, horizontal_flip",
    epochs=100,
    batch_size=256,
    optimizer="nesterov",
    learning_rate=0.1,
    schedule="step(epochs=30)",
    weight_decay=1e-4,
    decay_all=True,
)

if __name__ == "__main__":
    main(RECIPE)
