r"""ResNet-50 on ImageNet-1k in 300 epochs: procedure A2 of "ResNet strikes back".

    python -m recipes.imagenet_resnet50_a2 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/2110.00476, Table 2: as A1, with twice its weight decay, half of its mixup, and no label
smoothing. What differs is said in `imagenet_resnet50_a1`.
Published: 79.8 % of the validation images, by the paper (79.83 % in timm's results-imagenet.csv).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_resnet50_a1

RECIPE = dataclasses.replace(
    imagenet_resnet50_a1.RECIPE,
    mix="mixup(alpha=0.1), cutmix(alpha=1), repeat(times=3)",
    epochs=300,
    weight_decay=0.02,
    label_smoothing=0.0,
)

if __name__ == "__main__":
    main(RECIPE)
