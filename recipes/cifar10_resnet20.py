r"""ResNet-20 on CIFAR-10.

    python -m recipes.cifar10_resnet20 --data_dir=/data/tfds

Follows https://arxiv.org/abs/1512.03385, section 4.2: 64,000 steps of 128 images, a tenth of the rate from step 32,000
on, and of that from step 48,000 on.
Differs from the paper: these are whole epochs of 390 steps; the paper leaves open whether the 5,000 images that it held
out to find them were trained on in the end: here all 50,000 are; weight decay is for kernels only; a shifted image has
a black margin, where the paper's has the mean image.
Published: 91.25 % of the test images, in Table 6 of the paper (8.75 % errors).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnet20_cifar",
    data="tfds:cifar10",
    crop="pad(pixels=4)",
    augment="horizontal_flip",
    preprocess="mean_image",
    epochs=164,
    batch_size=128,
    optimizer="momentum",
    learning_rate=0.1,
    schedule="multistep(epochs=(82, 123))",
    weight_decay=1e-4,
)

if __name__ == "__main__":
    main(RECIPE)
