r"""ResNet-18 on ImageNet-1k.

    python -m recipes.imagenet_resnet18 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1512.03385, section 3.4. What differs from the paper is said in `imagenet_resnet50`.
Published: 69.57 % of the validation images with one crop, by https://github.com/facebookarchive/fb.resnet.torch
(30.43 % errors), which has other crops and colours. The paper has 72.12 % with ten crops (27.88 % errors, Table 2).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_resnet50

RECIPE = dataclasses.replace(imagenet_resnet50.RECIPE, model="resnet18", model_args="zero_init_residual=False")

if __name__ == "__main__":
    main(RECIPE)
