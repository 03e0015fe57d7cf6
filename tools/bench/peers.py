"""What our models are called elsewhere."""

from kerascnn import registry

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
    "efficientnet_v2_s": "EfficientNetV2S",
    "efficientnet_v2_m": "EfficientNetV2M",
    "efficientnet_v2_l": "EfficientNetV2L",
}
KERAS_APPLICATIONS |= {f"efficientnet_b{i}": f"EfficientNetB{i}" for i in range(8)}
KERAS_APPLICATIONS |= {f"efficientnet_v2_b{i}": f"EfficientNetV2B{i}" for i in range(4)}


def timm_name(name: str) -> str:
    """Returns timm's name of our model: an alias where it is not ours, as mobilenetv2_100 is."""
    return next(iter(registry.facts()[name]["aliases"]), name)


def build_keras_application(name: str, size: int | None = None):
    """Returns that model with random weights; it gives logits, as ours do, for images of its own size or of `size`."""
    import keras

    options = {"include_preprocessing": False} if name.startswith("MobileNetV3") else {}
    shape = None if size is None else (size, size, 3)
    function = getattr(keras.applications, name)
    return function(weights=None, input_shape=shape, classifier_activation=None, **options)
