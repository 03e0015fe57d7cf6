r"""The plain net of 56 layers on CIFAR-10: deeper than plain-20, and worse.

    python -m recipes.cifar10_plain56 --data_dir=/data/tfds

Follows https://arxiv.org/abs/1512.03385, section 4.2, which shows its errors in Figure 6 and prints no number. What
differs from the paper is said in `cifar10_resnet20`.
Published: 84.61 % of the test images, by https://github.com/techxzen/pytorch-residual-networks (15.39 % errors), which
follows the same section with batches of 100.
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import cifar10_resnet20

RECIPE = dataclasses.replace(cifar10_resnet20.RECIPE, model="plain56_cifar")

if __name__ == "__main__":
    main(RECIPE)
