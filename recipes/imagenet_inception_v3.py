r"""Inception-v3 on ImageNet-1k.

    python -m recipes.imagenet_inception_v3 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1512.00567, sections 7 and 8: 50 replicas with 32 images each, RMSProp, clipped gradients,
label smoothing and averaged weights. What the paper does not name is from its authors' code, https://github.com/
tensorflow/models (research/inception): momentum, the weight of the auxiliary classifier, weight decay, the average.
Differs from both: the replicas wait for each other; colours are not distorted; crops are those of torchvision.
Published: 78.8 % of the validation images with one crop, by Table 3 of the paper. torchvision's weights have 77.294 %.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="inception_v3",
    model_args="include_aux=True, dropout=0.2",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=299,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=100,
    batch_size=1600,
    optimizer="rmsprop_tf(rho=0.9, momentum=0.9, epsilon=1.0)",
    learning_rate=0.045,
    schedule="step(epochs=2, factor=0.94)",
    weight_decay=4e-5,
    clip="global_norm(limit=2.0)",
    label_smoothing=0.1,
    aux_weight="0.4",
    average="ema(decay=0.9999)",
)

if __name__ == "__main__":
    main(RECIPE)
