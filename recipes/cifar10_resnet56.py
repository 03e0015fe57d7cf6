r"""ResNet-56 on CIFAR-10.

    python -m recipes.cifar10_resnet56 --data_dir=/data/tfds

Follows https://arxiv.org/abs/1512.03385, section 4.2. What differs from the paper is said in `cifar10_resnet20`.
Published: 93.03 % of the test images, in Table 6 of the paper (6.97 % errors).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import cifar10_resnet20

RECIPE = dataclasses.replace(cifar10_resnet20.RECIPE, model="resnet56_cifar")

if __name__ == "__main__":
    main(RECIPE)
