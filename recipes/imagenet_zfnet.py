r"""ZFNet on ImageNet-1k.

    python -m recipes.imagenet_zfnet --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows M. Zeiler and R. Fergus, https://arxiv.org/abs/1311.2901, section 3: AlexNet's training in 70 passes, without
the colour shifts.
Differs from the paper: one crop from the centre for its ten; any window of the image, where the paper has the corners
and the centre of its central 256x256 pixels; the filters of the first layer are not scaled down to a fixed size. The
paper names no weight decay: it is AlexNet's. What is said of the rate in `imagenet_alexnet` holds here.
Published: 61.6 % of the validation images with ten crops, in Table 2 of the paper (38.4 % errors, one net).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_alexnet

RECIPE = dataclasses.replace(imagenet_alexnet.RECIPE, model="zfnet", augment="horizontal_flip", epochs=70)

if __name__ == "__main__":
    main(RECIPE)
