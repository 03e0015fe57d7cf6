r"""MobileNet on the built-in digits.

    python -m recipes.digits_mobilenet

The blocks of https://arxiv.org/abs/1704.04861 at half their width, on digits of 32x32 pixels. Differs from the paper: 7
blocks in 3 stages for its 13 in 5, since its five halvings leave nothing of such images. All that is not said here is
as in `digits_resnet20`.
Chosen on train[1150:], of which seed 0 got 98.26 % right. All 13 blocks, the last with dilated convolutions in place of
strides, got 97.56 % in more than twice the time; on 16x16 pixels 94.43 %, and 94.77 % with a stride more and 40 epochs.
Expected: 99.17 % of the test images, the mean of seeds 0 to 4 (98.61, 98.89, 99.72, 99.17, 99.44), after 89 s of
training with all evaluations; 75,466 parameters. AMD EPYC with 2 cores; commit ca645b83cd (docs/results.md).
"""

import dataclasses

from kerascnn.train import main

from . import digits_resnet20

RECIPE = dataclasses.replace(
    digits_resnet20.RECIPE,
    model="mobilenet_v1_050",
    model_args="depths=(1, 2, 4), widths=(64, 128, 256), bn_momentum=0.99",
    image_size=32,
)

if __name__ == "__main__":
    main(RECIPE)
