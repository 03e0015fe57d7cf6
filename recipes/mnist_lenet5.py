r"""LeNet-5 on MNIST.

    python -m recipes.mnist_lenet5 --data_dir=/data/tfds

The net and the 20 passes of Y. LeCun et al., "Gradient-based learning applied to document recognition" (1998),
https://doi.org/10.1109/5.726791, section III, without distortions.
Differs from the paper: mini-batches of 64 with momentum, at the rate and the weight decay that Caffe has for its LeNet,
where the paper has one image a step with a rate of each weight's own; one cosine for its five rates; a softmax for its
radial basis functions; the 28x28 pixels are resized to 32x32, where the paper puts a margin around them.
Published: 99.05 % of the test images, in section III.C of the paper (0.95 % errors).
Expected: not measured yet.
"""

from kerascnn.train import Recipe, main

RECIPE = Recipe(
    model="lenet5",
    data="tfds:mnist",
    image_size=32,
    epochs=20,
    batch_size=64,
    optimizer="momentum",
    learning_rate=0.01,
    weight_decay=5e-4,
)

if __name__ == "__main__":
    main(RECIPE)
