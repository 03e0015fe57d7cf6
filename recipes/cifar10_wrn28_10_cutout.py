r"""Wide ResNet 28-10 on CIFAR-10 with Cutout.

    python -m recipes.cifar10_wrn28_10_cutout --data_dir=/data/tfds --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1708.04552 and https://github.com/uoguelph-mlrg/Cutout: holes of 16x16 pixels, dropout 0.3
in the blocks, and for the rest https://arxiv.org/abs/1605.07146.
Differs from the project: the holes are grey, where the project has the mean colour.
Published: 96.92 % of the test images, by the project's README and in Table 1 of the paper (3.08 % errors, the mean of
five runs).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import cifar10_wrn28_10

RECIPE = dataclasses.replace(
    cifar10_wrn28_10.RECIPE,
    model_args="block_dropout=0.3",
    augment="horizontal_flip, cutout(side=16, fill=121)",  # (125 + 123 + 114) / 3
)

if __name__ == "__main__":
    main(RECIPE)
