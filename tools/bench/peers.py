"""What our models are called elsewhere."""

import inspect

from kerascnn import console, registry


def timm_name(name: str) -> str:
    """Returns timm's name of our model: an alias where it is not ours, as mobilenetv2_100 is."""
    return next(iter(registry.facts()[name]["aliases"]), name)


def keras_names() -> dict[str, str]:
    """Returns the functions of keras.applications by our names. A model that is not here has no peer there."""
    with console.quiet_start():  # imports Keras, which no --help should wait for
        from kerascnn.weights.keras_names import OURS

    return {ours: theirs for theirs, ours in OURS.items()}


def build_keras_application(name: str, size: int | None = None):
    """Returns that model with random weights; it gives logits, as ours do, for images of its own size or of `size`."""
    import keras

    function = getattr(keras.applications, name)
    scaled = "include_preprocessing" in inspect.signature(function).parameters
    options = {"include_preprocessing": False} if scaled else {}
    shape = None if size is None else (size, size, 3)
    return function(weights=None, input_shape=shape, classifier_activation=None, **options)
