r"""MobileNetV4-Conv-Small on ImageNet-1k.

    python -m recipes.imagenet_mobilenet_v4_conv_small --data_dir=/data/tfds --precision=mixed_bfloat16

Follows D. Qin et al., https://arxiv.org/abs/2404.10518, and the numbers of https://github.com/tensorflow/models
(imagenet_mobilenetv4_conv_small_tpu.yaml): 9,623 epochs of AdamW with a short memory, RandAugment, dropout.
Differs from them: each operation of RandAugment is applied always, where the project leaves out every second; its loss
has the squares of the weights besides, times 1e-5, ours has not; weight decay leaves out biases; the average begins
with the first step, there with step 1,560.
Published: 73.8 % of the validation images, by the project, beside these numbers.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="mobilenet_v4_conv_small",
    model_args="dropout=0.3, bn_momentum=0.95, bn_epsilon=1e-6, padding='same'",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875, antialias=False)",
    augment="horizontal_flip, randaugment(n=2, m=9)",
    epochs=9623,
    batch_size=4096,
    optimizer="adamw(beta_1=0.6, beta_2=0.999, epsilon=1e-6)",
    learning_rate=0.002,
    schedule="cosine",
    warmup_epochs=5,
    weight_decay=0.01,
    label_smoothing=0.1,
    average="ema(decay=0.9999)",
)

if __name__ == "__main__":
    main(RECIPE)
