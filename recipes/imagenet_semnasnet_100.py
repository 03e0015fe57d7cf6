r"""MnasNet-A1 on ImageNet-1k.

    python -m recipes.imagenet_semnasnet_100 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows M. Tan et al., https://arxiv.org/abs/1807.11626, and the numbers of
https://github.com/tensorflow/tpu/tree/master/models/official/mnasnet, where a rate of 0.016 for each 256 images makes
0.064 of batches of 1,024. The paper has more images in a batch, and steps of the rate.
Differs from them: the warm-up climbs to what the steps then have, where the project climbs to 0.064; weight decay
leaves out biases; batch norm sees the whole batch.
Published: 75.2 % of the validation images, by the project's README and in Table 1 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="semnasnet_100",
    model_args="bn_epsilon=1e-3, bn_momentum=0.99, padding='same'",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875, antialias=False)",
    augment="horizontal_flip",
    epochs=350,
    batch_size=1024,
    optimizer="rmsprop_tf(rho=0.9, momentum=0.9, epsilon=1e-3)",
    learning_rate=0.064,
    schedule="step(epochs=2.4, factor=0.97)",
    warmup_epochs=5,
    weight_decay=1e-5,
    label_smoothing=0.1,
    average="ema(decay=0.9999)",
)

if __name__ == "__main__":
    main(RECIPE)
