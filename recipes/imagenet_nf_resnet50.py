r"""NF-ResNet-50, which has no norms, on ImageNet-1k.

    python -m recipes.imagenet_nf_resnet50 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

The numbers of https://github.com/google-deepmind/deepmind-research, nfnets/experiment.py, which its authors wrote for
a ResNet-50 with batch norm: batches of 1,024, a rate of 0.1 for each 256 images, label smoothing. What differed for the
nets without norms is not said there, and https://arxiv.org/abs/2101.08692 was not at hand.
Published: 80.658 % of the validation images at 288 pixels, by timm for weights of a longer training of its own,
nf_resnet50.ra2_in1k.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="nf_resnet50",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    epochs=90,
    batch_size=1024,
    optimizer="nesterov",
    learning_rate=0.4,  # 0.1 for each 256 images
    schedule="cosine",
    warmup_epochs=5,
    weight_decay=1e-4,
    label_smoothing=0.1,
)

if __name__ == "__main__":
    main(RECIPE)
