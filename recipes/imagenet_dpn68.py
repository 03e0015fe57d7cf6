r"""DPN-68 on ImageNet-1k.

    python -m recipes.imagenet_dpn68 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

The crops and colours of https://github.com/cypw/DPNs, the code of https://arxiv.org/abs/1707.01629, and its batches: of
64 images on each of 40 GPUs. What else it takes is ResNeXt's, on which it builds (see `imagenet_resnext50`).
Differs from the project: colours change in brightness, contrast and saturation, and there in hue, saturation and
lightness; batch norm sees the whole batch. The project names no epochs, no weight decay and no rate for this net.
Published: 76.43 % of the validation images with one crop, by the project's README (23.57 % errors).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="dpn68",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(interpolation='bicubic')",
    test_crop="center(fraction=0.875, interpolation='bicubic')",
    augment="color_jitter(brightness=0.4, contrast=0.4, saturation=0.4), horizontal_flip",
    epochs=100,
    batch_size=2560,
    optimizer="nesterov",
    learning_rate=1.0,  # 0.1 for each 256 images
    schedule="step(epochs=30)",
    warmup_epochs=5,
    weight_decay=1e-4,
    decay_all=True,
)

if __name__ == "__main__":
    main(RECIPE)
