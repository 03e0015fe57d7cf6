r"""RepVGG-A0 on ImageNet-1k.

    python -m recipes.imagenet_repvgg_a0 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows X. Ding et al., https://arxiv.org/abs/2101.03697, section 4.1: simple augmentation, 120 epochs, batches of 256.
Differs from the paper: batch norm sees the whole batch, and 32 images there.
Published: 72.41 % of the validation images, in Table 4 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="repvgg_a0",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=120,
    batch_size=256,
    optimizer="momentum",
    learning_rate=0.1,
    schedule="cosine",
    weight_decay=1e-4,
)

if __name__ == "__main__":
    main(RECIPE)
