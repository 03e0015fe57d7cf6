r"""ResNet-RS-50 on ImageNet-1k, at 160 pixels.

    python -m recipes.imagenet_resnetrs50 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows I. Bello et al., https://arxiv.org/abs/2103.07579, and the numbers of
https://github.com/tensorflow/tpu/tree/master/models/official/resnet/resnet_rs (resnetrs50_i160.yaml). Batch norm keeps
the statistics of the last batch alone, and their average is that of the weights: judge the run by `average_accuracy`.
The cosine is the paper's, and that of https://github.com/tensorflow/models (imagenet_resnetrs50_i160.yaml); the code
beside these numbers has steps.
Differs from them: weight decay leaves out biases; batch norm sees the whole batch.
Published: 78.8 % of the validation images, by the project's README.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnetrs50",
    model_args="dropout=0.25, bn_momentum=0.0",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=160,
    crop="random_resized(interpolation='bicubic')",
    test_crop="center(fraction=0.8333, interpolation='bicubic', antialias=False)",  # of 192 pixels
    augment="horizontal_flip, randaugment(n=2, m=10)",
    epochs=350,
    batch_size=4096,
    optimizer="momentum",
    learning_rate=1.6,  # 0.1 for each 256 images
    schedule="cosine",
    warmup_epochs=5,
    weight_decay=4e-5,
    label_smoothing=0.1,
    average="ema(decay=0.9999)",
)

if __name__ == "__main__":
    main(RECIPE)
