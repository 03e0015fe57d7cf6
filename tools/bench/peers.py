"""What our models are called elsewhere."""

import re

# By our name, the function of keras.applications. A model that is not here has no peer there.
KERAS_APPLICATIONS = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "resnetv2_50": "ResNet50V2",
    "resnetv2_101": "ResNet101V2",
    "resnetv2_152": "ResNet152V2",
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
} | {f"efficientnet_b{i}": f"EfficientNetB{i}" for i in range(8)}


def timm_name(name: str) -> str:
    """Returns timm's name of our model: its MobileNets are called mobilenetv2_100, mobilenetv2_140, ..."""
    if not name.startswith("mobilenet_v"):
        return name
    width = "" if re.search(r"_\d{3}d?$", name) else "_100"
    return name.replace("mobilenet_v", "mobilenetv") + width


def build_keras_application(name: str, size: int | None = None):
    """Returns that model with random weights; it gives logits, as ours do, for images of its own size or of `size`."""
    import keras

    options = {"include_preprocessing": False} if name.startswith("MobileNetV3") else {}
    shape = None if size is None else (size, size, 3)
    function = getattr(keras.applications, name)
    return function(weights=None, input_shape=shape, classifier_activation=None, **options)
