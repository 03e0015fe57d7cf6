r"""SENet-154 on ImageNet-1k.

    python -m recipes.imagenet_senet154 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows J. Hu et al., https://arxiv.org/abs/1709.01507, appendix, and the rotations of
https://github.com/hujie-frank/SENet: batches of 2,048, a rate of 1, label smoothing. Dropout of 0.2 is the net's own.
Differs from the paper: batch norm is not frozen in the last epochs; the shifts of each pixel's level by up to 20 are
left out. The paper names no other number of epochs than the 100 of its other nets.
Published: 81.32 % of the validation images with one crop, by the project's README and in the paper (18.68 % errors).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_seresnet50

RECIPE = dataclasses.replace(
    imagenet_seresnet50.RECIPE,
    model="senet154",
    model_args="",
    augment="horizontal_flip, rotate(degrees=10)",
    batch_size=2048,
    learning_rate=1.0,
    label_smoothing=0.1,
)

if __name__ == "__main__":
    main(RECIPE)
