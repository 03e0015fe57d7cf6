r"""RegNetY-400MF on ImageNet-1k.

    python -m recipes.imagenet_regnet_y_400mf --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/2003.13678 and its code, https://github.com/facebookresearch/pycls
(configs/dds_baselines/regnety/RegNetY-400MF_dds_8gpu.yaml): batches of 1,024, one cosine in 100 epochs, and no
regularisation but weight decay, which is for all weights.
Differs from them: the warm-up starts at zero, and there at a tenth of the rate; batch norm sees the whole batch, and
128 images there.
Published: 74.1 % of the validation images, by the project's model zoo (25.9 % errors).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="regnet_y_400mf",
    model_args="zero_init_residual=False",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="random_resized",
    test_crop="center(fraction=0.875, antialias=False)",
    augment="horizontal_flip, pca",
    epochs=100,
    batch_size=1024,
    optimizer="nesterov",
    learning_rate=0.8,  # 0.1 for each 128 images
    schedule="cosine",
    warmup_epochs=5,
    weight_decay=5e-5,
    decay_all=True,
)

if __name__ == "__main__":
    main(RECIPE)
