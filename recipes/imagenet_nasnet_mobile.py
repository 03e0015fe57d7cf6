r"""NASNet-A (4 @ 1056), the mobile one, on ImageNet-1k.

    python -m recipes.imagenet_nasnet_mobile --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

The net of https://arxiv.org/abs/1707.07012, and the numbers of its authors' code, https://github.com/tensorflow/models
(research/slim/nets/nasnet/nasnet.py): 250,000 steps of 50 times 32 images. The code leaves the optimizer to its user;
RMSProp is that of Inception-v3 here, https://arxiv.org/abs/1512.00567, with its momentum and its average.
Differs from it: crops are torchvision's, and colours are not distorted.
Published: 74.0 % of the validation images, by Table 2 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="nasnet_mobile",
    model_args="include_aux=True, dropout=0.5, bn_momentum=0.9997, initializer='he_normal_fan_out'",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=312,
    batch_size=1600,
    optimizer="rmsprop_tf(rho=0.9, momentum=0.9, epsilon=1.0)",
    learning_rate=2.0,
    schedule="step(epochs=2.4, factor=0.97)",
    weight_decay=4e-5,
    clip="global_norm(limit=10.0)",
    label_smoothing=0.1,
    average="ema(decay=0.9999)",
    aux_weight="0.4",
)

if __name__ == "__main__":
    main(RECIPE)
