r"""LeNet-5 on the built-in digits.

    python -m recipes.digits_lenet5

The net of Y. LeCun et al., "Gradient-based learning applied to document recognition" (1998), at its 32x32 pixels. All
that is not said here is as in `digits_resnet20`.
Expected: 99.56 % of the test images, the mean of seeds 0 to 4: 99.17, 99.72, 99.44, 99.72, 99.72. 24 to 30 s of
training with all evaluations and checkpoints, on 2 cores of an AMD EPYC with AVX-512, float32; commit 95c2380.
"""

import dataclasses

from kerascnn.train import main

from . import digits_resnet20

RECIPE = dataclasses.replace(digits_resnet20.RECIPE, model="lenet5", model_args="", image_size=32)

if __name__ == "__main__":
    main(RECIPE)
