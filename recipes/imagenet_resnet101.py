r"""ResNet-101 on ImageNet-1k.

    python -m recipes.imagenet_resnet101 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1512.03385, section 3.4. What differs from the paper is said in `imagenet_resnet50`.
Published: 76.4 % of the validation images with one crop, by https://github.com/KaimingHe/deep-residual-networks (23.6 %
errors). The paper has 78.2 % with ten crops (21.8 %).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_resnet50

RECIPE = dataclasses.replace(imagenet_resnet50.RECIPE, model="resnet101")

if __name__ == "__main__":
    main(RECIPE)
