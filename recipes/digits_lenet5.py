r"""LeNet-5 on the built-in digits.

    python -m recipes.digits_lenet5

The net of Y. LeCun et al., "Gradient-based learning applied to document recognition" (1998), at its 32x32 pixels. All
that is not said here is as in `digits_resnet20`.
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import digits_resnet20

RECIPE = dataclasses.replace(digits_resnet20.RECIPE, model="lenet5", model_args="", image_size=32)

if __name__ == "__main__":
    main(RECIPE)
