r"""GhostNet on ImageNet-1k.

    python -m recipes.imagenet_ghostnet --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

The net of https://arxiv.org/abs/1911.11907. The paper names no more than a few numbers; these are its first author's,
https://github.com/iamhankai/ghostnet.pytorch/issues/3 and issues/18, and what he refers to for the rest,
https://github.com/megvii-model/ShuffleNet-Series: 400 epochs, a warm-up and a cosine.
What differs: he trained in TensorFlow, and says that details may have to change elsewhere; weight decay leaves out
biases.
Published: 73.9 % of the validation images, in Table 7 of the paper.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="ghostnet_100",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875)",
    augment="color_jitter(brightness=0.4, contrast=0.4, saturation=0.4), horizontal_flip",
    epochs=400,
    batch_size=1024,
    optimizer="momentum",
    learning_rate=0.4,
    schedule="cosine",
    warmup_epochs=5,
    weight_decay=4e-5,
    label_smoothing=0.1,
)

if __name__ == "__main__":
    main(RECIPE)
