r"""EfficientNet-B0 on ImageNet-1k.

    python -m recipes.imagenet_efficientnet_b0 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows M. Tan and Q. Le, https://arxiv.org/abs/1905.11946, section 5.2, with AutoAugment, and
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet, where a rate of 0.016 for each 256 images
makes the paper's 0.256 of batches of 4,096.
Differs from them: all training images are trained on, and the last epoch is kept, where the project chooses an epoch on
2 % of them; the warm-up climbs to the 0.241 that the steps then have, where the project climbs to 0.256; weight decay
leaves out biases; batch norm sees the whole batch.
Published: 77.1 % of the validation images, by the project's README (AutoAugment) and in Table 2 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="efficientnet_b0",
    model_args="bn_epsilon=1e-3, padding='same'",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(interpolation='bicubic')",
    test_crop="center(fraction=0.875, interpolation='bicubic', antialias=False)",
    augment="horizontal_flip, autoaugment(policy='imagenet')",
    epochs=350,
    batch_size=4096,
    optimizer="rmsprop_tf(rho=0.9, momentum=0.9, epsilon=1e-3)",
    learning_rate=0.256,
    schedule="step(epochs=2.4, factor=0.97)",
    warmup_epochs=5,
    weight_decay=1e-5,
    label_smoothing=0.1,
    average="ema(decay=0.9999)",
)

if __name__ == "__main__":
    main(RECIPE)
