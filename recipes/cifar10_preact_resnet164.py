r"""The ResNet of 164 layers with norms and activations ahead of its convolutions, on CIFAR-10.

    python -m recipes.cifar10_preact_resnet164 --data_dir=/data/tfds

Follows https://arxiv.org/abs/1603.05027, whose appendix keeps the numbers of https://arxiv.org/abs/1512.03385, section
4.2.
Differs from the paper: the rate climbs through the first epoch, where the paper has 0.01 for 400 steps. What else
differs is said in `cifar10_resnet20`.
Published: 94.54 % of the test images, in Table 2 of the paper (5.46 % errors, the median of five runs).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import cifar10_resnet20

RECIPE = dataclasses.replace(cifar10_resnet20.RECIPE, model="preact_resnet164_cifar", warmup_epochs=1)

if __name__ == "__main__":
    main(RECIPE)
