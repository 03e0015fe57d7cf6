r"""LeNet-5 on the built-in digits.

    python -m recipes.digits_lenet5

The net of Y. LeCun et al., "Gradient-based learning applied to document recognition" (1998), at its 32x32 pixels. All
that is not said here is as in `digits_resnet20`.
Expected: 99.56 % of the test images, the mean of seeds 0 to 4 (99.17, 99.72, 99.44, 99.72, 99.72), after 33 s of
training with all evaluations; 61,706 parameters. AMD EPYC with 2 cores; commit 934d393055 (docs/results.md).
"""

import dataclasses

from kerascnn.train import main

from . import digits_resnet20

RECIPE = dataclasses.replace(digits_resnet20.RECIPE, model="lenet5", model_args="", image_size=32)

if __name__ == "__main__":
    main(RECIPE)
