r"""VGG-16 with batch norm on ImageNet-1k.

    python -m recipes.imagenet_vgg16_bn --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

No paper's, but torchvision's: https://github.com/pytorch/vision/tree/main/references/classification#alexnet-and-vgg,
whose defaults are those of its ResNets: 90 epochs, and a tenth of the rate every 30. Weight decay is for all weights.
Published: 73.36 % of the validation images, by torchvision for VGG16_BN_Weights.IMAGENET1K_V1.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="vgg16_bn",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized(antialias=True)",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=90,
    batch_size=256,
    optimizer="momentum",
    learning_rate=0.1,
    schedule="step(epochs=30)",
    weight_decay=1e-4,
    decay_all=True,
)

if __name__ == "__main__":
    main(RECIPE)
