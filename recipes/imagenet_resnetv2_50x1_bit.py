r"""BiT's ResNet-50, which has group norm and standardised kernels, on ImageNet-1k alone.

    python -m recipes.imagenet_resnetv2_50x1_bit --data_dir=/data/tfds --strategy=tpu --precision=mixed_bfloat16

The numbers of https://github.com/google-research/big_vision, configs/bit_i1k.py, by the authors of
https://arxiv.org/abs/1912.11370: batches of 4,096, a rate of 0.1 for each 256 images, gradients clipped to a norm of 1.
Differs from theirs: their weight decay, 1e-4 for each 256 images, follows the schedule and not the rate, which is the
decoupled 1e-3 here; they hold out a hundredth of the training images; their pixels are from -1 to 1, these normalised.
Published: 82.82 % of the validation images at 224 pixels, by timm for weights that a larger BiT taught,
resnetv2_50x1_bit.goog_distilled_in1k; the config names no number.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnetv2_50x1_bit",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(scale=(0.05, 1))",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=90,
    batch_size=4096,
    optimizer="momentum",
    learning_rate=1.6,  # 0.1 for each 256 images
    schedule="cosine",
    warmup_epochs=3.2,  # 1,000 steps
    weight_decay=1e-3,
    decoupled=True,
    clip="global_norm(limit=1.0)",
)

if __name__ == "__main__":
    main(RECIPE)
