r"""The plain net of 20 layers on CIFAR-10: ResNet-20 without its shortcuts.

    python -m recipes.cifar10_plain20 --data_dir=/data/tfds

Follows https://arxiv.org/abs/1512.03385, section 4.2, which shows its errors in Figure 6 and prints no number. What
differs from the paper is said in `cifar10_resnet20`.
Published: 89.92 % of the test images, by https://github.com/techxzen/pytorch-residual-networks (10.08 % errors), which
follows the same section with batches of 100.
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import cifar10_resnet20

RECIPE = dataclasses.replace(cifar10_resnet20.RECIPE, model="plain20_cifar")

if __name__ == "__main__":
    main(RECIPE)
