r"""ResNet-110 on CIFAR-10.

    python -m recipes.cifar10_resnet110 --data_dir=/data/tfds

Follows https://arxiv.org/abs/1512.03385, section 4.2.
Differs from the paper: the rate climbs through the first epoch, where the paper has 0.01 for about 400 steps, until a
fifth of the images is right. What else differs is said in `cifar10_resnet20`.
Published: 93.39 % of the test images, in Table 6 of the paper: the mean of five runs (6.61 % errors), the best of which
has 93.57 %.
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import cifar10_resnet20

RECIPE = dataclasses.replace(cifar10_resnet20.RECIPE, model="resnet110_cifar", warmup_epochs=1)

if __name__ == "__main__":
    main(RECIPE)
