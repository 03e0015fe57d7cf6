r"""Wide ResNet 28-10 on CIFAR-10 with mixup.

    python -m recipes.cifar10_wrn28_10_mixup --data_dir=/data/tfds --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1710.09412, section 3.2, and https://github.com/facebookresearch/mixup-cifar10: alpha 1, a
weight decay of 1e-4, momentum without Nesterov's.
Differs from the paper: partners are neighbours in a batch, where the project permutes the batch.
Published: 97.3 % of the test images, in Figure 3 of the paper (2.7 % errors; 3.8 % without mixup).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import cifar10_wrn28_10

RECIPE = dataclasses.replace(
    cifar10_wrn28_10.RECIPE,
    mix="mixup(alpha=1)",
    optimizer="momentum",
    schedule="multistep(epochs=(60, 120, 180))",
    weight_decay=1e-4,
)

if __name__ == "__main__":
    main(RECIPE)
