r"""MobileNet on ImageNet-1k.

    python -m recipes.imagenet_mobilenet_v1 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

The net of https://arxiv.org/abs/1704.04861, which names no numbers; those here are TensorFlow's,
https://github.com/tensorflow/models (official/vision, imagenet_mobilenetv1_tpu.yaml): batches of 4,096, 500 epochs.
Differs from the project: weight decay is for depthwise kernels, too; batch norm sees the whole batch.
Published: 72.33 % of the validation images, by the comment in that file. The paper has 70.6 % (Table 8).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="mobilenet_v1",
    model_args="dropout=0.2, bn_momentum=0.997, bn_epsilon=1e-3, padding='same'",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875, antialias=False)",
    augment="horizontal_flip",
    epochs=500,
    batch_size=4096,
    optimizer="rmsprop(rho=0.9, momentum=0.9, epsilon=0.002)",
    learning_rate=0.256,
    schedule="step(epochs=2.5, factor=0.94)",
    warmup_epochs=5,
    weight_decay=1e-5,
    label_smoothing=0.1,
)

if __name__ == "__main__":
    main(RECIPE)
