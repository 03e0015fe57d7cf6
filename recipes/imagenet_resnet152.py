r"""ResNet-152 on ImageNet-1k.

    python -m recipes.imagenet_resnet152 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1512.03385, section 3.4. What differs from the paper is said in `imagenet_resnet50`.
Published: 77.0 % of the validation images with one crop, by https://github.com/KaimingHe/deep-residual-networks (23.0 %
errors). The paper has 78.6 % with ten crops (21.4 %).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_resnet50

RECIPE = dataclasses.replace(imagenet_resnet50.RECIPE, model="resnet152")

if __name__ == "__main__":
    main(RECIPE)
