r"""DenseNet-121 on ImageNet-1k.

    python -m recipes.imagenet_densenet121 --data_dir=/data/tfds --strategy=mirrored --precision=mixed_bfloat16

Follows https://arxiv.org/abs/1608.06993, section 4.2, and its code, https://github.com/liuzhuang13/DenseNet, which is
that of https://github.com/facebookarchive/fb.resnet.torch, as ResNeXt's is: 90 epochs, and a tenth of the rate after
30 and 60.
Differs from them: nothing that is known, but for batch norm, which sees the whole batch, and one GPU's images there.
Published: 75.0 % of the validation images with one crop, by the project's README (25.0 % errors; 25.02 % in Table 3 of
the paper).
Expected: not measured yet.
"""

import dataclasses

from kerascnn.train import main

from . import imagenet_resnext50

RECIPE = dataclasses.replace(imagenet_resnext50.RECIPE, model="densenet121", model_args="", epochs=90)

if __name__ == "__main__":
    main(RECIPE)
