r"""Wide ResNet 28-10 on CIFAR-10.

    python -m recipes.cifar10_wrn28_10 --data_dir=/data/tfds --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1605.07146, section 3, and https://github.com/szagoruyko/wide-residual-networks, without
dropout. Weight decay is for all weights, as the optimizer there has it.
Differs from the project: a shifted image has a black margin, where the project mirrors the image.
Published: 96.00 % of the test images, by the project's README (4.00 % errors, the median of five runs); 96.11 % with
model_args="block_dropout=0.3".
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="wrn28_10",
    data="tfds:cifar10",
    crop="pad(pixels=4)",
    augment="horizontal_flip",
    epochs=200,
    batch_size=128,
    optimizer="nesterov",
    learning_rate=0.1,
    schedule="multistep(epochs=(60, 120, 160), factor=0.2)",
    weight_decay=5e-4,
    decay_all=True,
)

if __name__ == "__main__":
    main(RECIPE)
