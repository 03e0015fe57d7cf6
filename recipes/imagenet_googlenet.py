r"""GoogLeNet on ImageNet-1k.

    python -m recipes.imagenet_googlenet --data_dir=/data/tfds --precision=mixed_bfloat16

The net and the two auxiliary classifiers, weighed 0.3, of https://arxiv.org/abs/1409.4842. The paper names neither its
batch nor its first rate, so the numbers are those of https://github.com/BVLC/caffe (models/bvlc_googlenet,
quick_solver.prototxt): 2,400,000 steps of 32 images.
Differs from both: batch norm for local response normalisation, and what else is said in `kerascnn.models.inception`,
but for the 5x5 convolutions and the dropout, which are the paper's here. Differs from Caffe's: images keep their form
when they become 256 pixels.
Published: 68.7 % of the validation images with one crop, by the readme.md of models/bvlc_googlenet.
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="googlenet",
    model_args="include_aux=True, large_kernel=5, dropout=0.4",
    data="tfds:imagenet2012",
    test_split="validation",
    image_size=224,
    crop="scale_jitter(shortest=(256, 256))",
    test_crop="center(fraction=0.875)",
    augment="horizontal_flip",
    preprocess="channel_mean",
    epochs=60,
    batch_size=32,
    optimizer="momentum",
    learning_rate=0.01,
    schedule="polynomial(power=0.5)",
    weight_decay=2e-4,
    aux_weight="0.3",
)

if __name__ == "__main__":
    main(RECIPE)
