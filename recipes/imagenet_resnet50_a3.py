r"""ResNet-50 on ImageNet-1k in 100 epochs: procedure A3 of "ResNet strikes back".

    python -m recipes.imagenet_resnet50_a3 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/2110.00476, Table 2: trained on 160 pixels and seen at 224, each image once in a batch, no
stochastic depth. What differs is said in `imagenet_resnet50_a1`.
Published: 78.1 % of the validation images, by the paper (78.05 % in timm's results-imagenet.csv).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_resnet50_a1

RECIPE = dataclasses.replace(
    imagenet_resnet50_a1.RECIPE,
    model_args="",
    image_size=160,
    test_image_size=224,
    augment="horizontal_flip, randaugment(n=2, m=6, std=0.5, interpolation='bilinear')",
    mix="mixup(alpha=0.1), cutmix(alpha=1)",
    epochs=100,
    learning_rate=8e-3,
    weight_decay=0.02,
    label_smoothing=0.0,
)

if __name__ == "__main__":
    main(RECIPE)
