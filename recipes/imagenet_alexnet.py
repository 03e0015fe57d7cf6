r"""AlexNet on ImageNet-1k.

    python -m recipes.imagenet_alexnet --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks"
(2012), https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks, sections 4
and 5: 90 passes, and a rate that falls three times to a tenth.
Differs from the paper: one crop from the centre for its ten; biases start at 0 for its 1; the rate falls when the loss
of the validation images has had no new lowest value for 5 epochs, where the authors watched the error, and chose the
best such epoch by eye; crops are from the whole image, of which the paper keeps the central 256x256 pixels.
Published: 57.1 % of the validation images with one crop, by https://github.com/BVLC/caffe (models/bvlc_alexnet, without
the colour shifts). The paper has 59.3 % with ten crops (40.7 % errors, Table 2).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="alexnet_grouped",
    model_args="initializer='small_normal'",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="scale_jitter(shortest=(256, 256))",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip, pca",
    preprocess="mean_image",
    epochs=90,
    batch_size=128,
    optimizer="momentum",
    learning_rate=0.01,
    schedule="plateau(factor=0.1, patience=5, smallest=1e-3)",
    weight_decay=5e-4,
)

if __name__ == "__main__":
    main(RECIPE)
