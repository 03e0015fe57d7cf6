r"""ResNet-50 on ImageNet-1k, as in its paper.

    python -m recipes.imagenet_resnet50 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1512.03385, section 3.4: batches of 256, 600,000 steps, a rate of 0.1 that falls to a
tenth on plateaus, shorter sides of 256 to 480 pixels, a net that strides in its first 1x1 convolutions.
Differs from the paper: one crop from the centre for its ten; a plateau is 5 epochs in which the loss of the validation
images has no new lowest value, where the authors looked at the error; weight decay is for kernels only, where Caffe has
it for all weights.
Published: 75.3 % of the validation images with one crop, by https://github.com/KaimingHe/deep-residual-networks (24.7 %
errors). The paper has 77.1 % with ten crops (22.9 %).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="resnet50",
    model_args="stride_in_1x1=True, zero_init_residual=False",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="scale_jitter(shortest=(256, 480))",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip, pca",
    preprocess="mean_image",
    epochs=120,
    batch_size=256,
    optimizer="momentum",
    learning_rate=0.1,
    schedule="plateau(factor=0.1, patience=5)",
    weight_decay=1e-4,
)

if __name__ == "__main__":
    main(RECIPE)
