r"""ResNet-50 on ImageNet-1k in 600 epochs: procedure A1 of "ResNet strikes back".

    python -m recipes.imagenet_resnet50_a1 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows R. Wightman, H. Touvron and H. Jegou, https://arxiv.org/abs/2110.00476, Table 2, and its timm,
https://github.com/huggingface/pytorch-image-models, whose loss was the mean over classes then, and whose LAMB cuts
gradients to a norm of 1. A mixed image is a full example of each class whose share is above 0.2.
Differs from them: RandAugment draws from fourteen operations, where timm has fifteen, each with a chance of a half;
LAMB has its weight decay outside of the scaled step, and scales biases and norms, too; batch norm sees the whole batch.
Published: 80.4 % of the validation images, by the paper (80.38 % in timm's results-imagenet.csv).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnet50",
    model_args="drop_path=0.05",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(interpolation='bicubic', antialias=True)",
    test_crop="center(fraction=0.95, interpolation='bicubic')",
    augment="horizontal_flip, randaugment(n=2, m=7, std=0.5, interpolation='bilinear')",
    mix="mixup(alpha=0.2), cutmix(alpha=1), repeat(times=3)",
    epochs=600,
    batch_size=2048,
    optimizer="lamb",
    learning_rate=5e-3,
    schedule="cosine",
    warmup_epochs=5,
    weight_decay=0.01,
    clip="global_norm(limit=1.0)",
    loss="binary(threshold=0.2)",
    label_smoothing=0.1,
)

if __name__ == "__main__":
    main(RECIPE)
