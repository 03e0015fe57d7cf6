r"""Network in Network on CIFAR-10.

    python -m recipes.cifar10_nin --data_dir=/data/tfds

The net of https://arxiv.org/abs/1312.4400, which leaves its rates open, with the numbers of MatConvNet's, which says
that it reproduces the paper: https://github.com/vlfeat/matconvnet (examples/cifar/cnn_cifar_init_nin.m as of commit
44d2605).
Differs from it: the rate climbs evenly through the first three epochs, there in steps; biases have the rate of all
weights, there ten times as much, and the last layer too, there a thousandth; images are whitened to a variance of 1,
there to what they had, and their contrast is not evened out first; the second pool takes the maximum, there and in the
authors' code the average.
Published: 89.59 % of the test images, in Table 1 of the paper as MatConvNet cites it (10.41 % errors; no image is
shifted).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="nin_cifar",
    data="tfds:cifar10",
    augment="horizontal_flip",
    preprocess="whiten",
    epochs=83,
    batch_size=100,
    optimizer="momentum",
    learning_rate=0.04,
    schedule="multistep(epochs=(63, 73))",
    warmup_epochs=3,
    weight_decay=5e-4,
)

if __name__ == "__main__":
    main(RECIPE)
