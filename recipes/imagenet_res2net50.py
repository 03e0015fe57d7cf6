r"""Res2Net-50 (26w x 4s) on ImageNet-1k.

    python -m recipes.imagenet_res2net50 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1904.01169 and its code, https://github.com/Res2Net/Res2Net-ImageNet-Training, which is
PyTorch's example: 100 epochs, and a tenth of the rate every 30. Weight decay is for all weights, as there.
Differs from them: nothing that is known, but for batch norm, which sees the whole batch, and one GPU's images there.
Published: 77.99 % of the validation images with one crop, by the project's README (22.01 % errors).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="res2net50_26w_4s",
    model_args="zero_init_residual=False",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(antialias=True)",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=100,
    batch_size=256,
    optimizer="momentum",
    learning_rate=0.1,
    schedule="step(epochs=30)",
    weight_decay=1e-4,
    decay_all=True,
)

if __name__ == "__main__":
    main(RECIPE)
