r"""ConvNeXt-T on ImageNet-1k.

    python -m recipes.imagenet_convnext_tiny --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows Z. Liu et al., https://arxiv.org/abs/2201.03545, appendix A.1, Table 5.
Differs from the paper: weight decay leaves out biases, norms and scales; RandAugment interpolates bilinearly.
Published: 82.1 % of the validation images, in Table 1 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="convnext_tiny",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(interpolation='bicubic')",
    test_crop="center(fraction=0.875, interpolation='bicubic')",
    augment="horizontal_flip, randaugment(n=2, m=9, std=0.5, interpolation='bilinear'), random_erasing(p=0.25)",
    epochs=300,
    batch_size=4096,
    optimizer="adamw",
    learning_rate=4e-3,
    schedule="cosine",
    warmup_epochs=20,
    weight_decay=0.05,
    label_smoothing=0.1,
    mix="mixup(alpha=0.8), cutmix(alpha=1.0)",
    average="ema(decay=0.9999)",
)

if __name__ == "__main__":
    main(RECIPE)
