r"""MobileNetV2 on ImageNet-1k.

    python -m recipes.imagenet_mobilenet_v2 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

The net, the rate and the weight decay of https://arxiv.org/abs/1801.04381, in the form of torchvision,
https://github.com/pytorch/vision/tree/main/references/classification#mobilenetv2: momentum for the paper's RMSProp,
batches of 256 for its 16 workers with 96 images each. Weight decay is for all weights.
Differs from the project: nothing that is known, but for batch norm, which sees the whole batch, and 32 images there.
Published: 71.878 % of the validation images, by torchvision for MobileNet_V2_Weights.IMAGENET1K_V1. The paper has
72.0 % (Table 4).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="mobilenet_v2",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(antialias=True)",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=300,
    batch_size=256,
    optimizer="momentum",
    learning_rate=0.045,
    schedule="step(epochs=1, factor=0.98)",
    weight_decay=4e-5,
    decay_all=True,
)

if __name__ == "__main__":
    main(RECIPE)
