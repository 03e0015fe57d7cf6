r"""VGG-11 on the built-in digits.

    python -m recipes.digits_vgg

The 3x3 convolutions and the dropout of https://arxiv.org/abs/1409.1556, configuration A: 8 convolutional layers and 3
fully connected ones. Differs from the paper: they stand in 3 stages for its 5, since three poolings leave one pixel of
8x8; filters are 32 to 128 for 64 to 512, hidden units 128 for 4096; weights start from He's distribution. All that is
not said here is as in `digits_resnet20`.
The learning rate is the only one that was tried on train[1150:], of which seed 0 got 97.91 % right. With batch norm
(vgg11_bn) and the rate of `digits_resnet20` it got 88.15 %.
Expected: 99.83 % of the test images, the mean of seeds 0 to 4 (100.00, 100.00, 99.72, 99.72, 99.72), after 65 s of
training with all evaluations; 615,914 parameters. AMD EPYC with 2 cores; commit ca645b83cd (docs/results.md).
"""

import dataclasses

from kerascnn.train import main

from . import digits_resnet20

RECIPE = dataclasses.replace(
    digits_resnet20.RECIPE,
    model="vgg11",
    model_args="depths=(2, 2, 4), widths=(32, 64, 128), hidden=(128, 128), side=1",
    learning_rate=0.02,  # there is no batch norm
)

if __name__ == "__main__":
    main(RECIPE)
