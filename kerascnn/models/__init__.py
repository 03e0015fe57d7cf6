"""The models: made by name with `create_model`, or by the function that each of them has, as `resnet20_cifar`."""

import dataclasses
import importlib
import inspect
import os
import re

import keras

from kerascnn import registry
from kerascnn.classifier import Classifier
from kerascnn.registry import list_models as list_models
from kerascnn.weights import catalog, open_weights, tell

# The families, in the order in which their models are listed.
for _family in (
    "lenet", "alexnet", "nin", "vgg", "squeezenet", "inception", "inception_v3", "xception", "resnet",
    "preact_resnet", "nf_resnet", "senet", "cifar_resnet", "regnet", "densenet", "dpn", "repvgg", "nasnet",
    "mobilenet", "mobilenet_v3", "mobilenet_v4", "mnasnet", "shufflenet_v2", "ghostnet", "efficientnet", "convnext",
    "airbench",
):  # fmt: skip
    importlib.import_module(f"kerascnn.models.{_family}")


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """The facts of a variant as it comes: `macs` for one image of `input_shape`, `stages` as names and shapes.

    `receptive_field` is how many pixels a side the last stage sees, `peak_memory` the bytes of activations for one
    image; `kerascnn.complexity` says both exactly. `weights` are the published ones, as create_model(weights=) takes
    them.
    """

    name: str
    aliases: tuple[str, ...]
    family: str
    paper: str
    params: int
    trainable_params: int
    macs: int
    image_size: int
    input_shape: tuple[int, int, int]
    num_classes: int
    stages: tuple[tuple[str, tuple[int, int, int]], ...]
    receptive_field: int
    peak_memory: int
    weights: tuple[str, ...]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    weights: str | os.PathLike[str] | None = None,
    pooling: str | None = "avg",
    dropout: float | None = None,
    drop_path: float | None = None,
    **overrides,
) -> keras.Model:
    """Builds a model that takes float images, (batch, height, width, channels), and gives float32 logits.

    Args:
        name: one of `list_models()`, or what torchvision or timm calls it.
        num_classes: 0 gives the pooled features in place of logits. With weights for another number, all but the
            classifier is theirs, and the classifier is random.
        input_shape: (height, width, channels); height and width may be None where the model has no fully connected
            layer but its last. With weights for other channels, the first kernel is summed or repeated, so that images
            whose channels are all the same give what they gave.
        weights: `timm:resnet50.a1_in1k` or `hf:OWNER/REPOSITORY`, from the Hugging Face hub; `keras:imagenet`, what
            keras.applications downloads; the path of a `.safetensors` file with the names of torchvision, timm or our
            own, or of a `.weights.h5` or `.keras` file; or a run's folder. `kerascnn list --weights` shows what there
            is. The model takes the form that they need. Without it the weights are random.
        pooling: "avg", "max", "catavgmax" for both, or None, which with num_classes=0 gives the feature map.
        dropout: the rate ahead of the classifier.
        drop_path: the rate of stochastic depth at the last block (https://arxiv.org/abs/1603.09382).
        **overrides: other fields of the family's spec; `help(kerascnn.models.NAME)` lists them, and
            `kerascnn.registry.Spec` and `kerascnn.blocks` tell what they mean. norm is "batch", "group", "layer"
            (averages over height, width and channels), "channel" (over the channels of each pixel), "instance" (over
            height and width) or "none".

    Where a field asks for more outputs, as include_aux=True does, the model gives a list, the logits first. It keeps
    its name and its overrides as `model.variant` and `model.overrides`, and where its weights come from as
    `model.weights_source`.

    Of these, None means the variant's own, but for `weights` and `pooling`. Raises a ValueError for an unknown name or
    field, which offers the close ones, and for a value that cannot be.
    """
    variant = registry.lookup(name)
    name = variant.name
    given = {"num_classes": num_classes, "input_shape": input_shape, "dropout": dropout, "drop_path": drop_path}
    given = {field: value for field, value in given.items() if value is not None}
    published: dict[str, object] = {}
    if weights is not None:
        opened = open_weights(weights, name)
        published = dict(opened.form or {})
        if opened.num_classes is not None:
            published["num_classes"] = opened.num_classes
    spec = registry.override(variant, {"pooling": pooling, **published, **given, **overrides})
    if weights is not None:
        opened.check(name, spec)
    # Weights get their values when the scope ends, which is quicker: TensorFlow names them one by one inside layers.
    with keras.StatelessScope():
        image = keras.Input(spec.input_shape, name="image")
        x = variant.build(spec, image)
        x, *aux = x if isinstance(x, list) else [x]
        if spec.pooling is not None:
            x = variant.head(spec, x)
        model = Classifier(image, [x, *aux] if aux else x, name=name)
    model.remember(name, registry.differences(variant, spec))
    if weights is not None:
        same = num_classes is None or num_classes == opened.num_classes
        tell(model, opened, opened.assign(model, classifier=same, channels=input_shape is not None))
        model.weights_source = opened.source
    return model


def model_info(name: str, *, measure: bool = False) -> ModelInfo:
    """Returns the facts of a variant as it comes. An unknown name is a ValueError that offers the close ones.

    They are read from a file, and counted on the model itself where the file lacks it, or with `measure`.
    """
    from kerascnn.counting import complexity

    variant = registry.lookup(name)
    name = variant.name
    facts = registry.facts().get(name)
    if facts is None or measure:
        cost = complexity(create_model(name, initializer="zeros"))  # quick to draw
        stages = [row for row in cost.layers if re.fullmatch(r"stage\d+", row.name)]
        facts = {fact: getattr(cost, fact) for fact in ("params", "trainable_params", "macs", "peak_memory")}
        facts["stages"] = {row.name: row.output_shape for row in stages}
        facts["receptive_field"] = stages[-1].receptive_field
    return ModelInfo(
        name=name,
        aliases=variant.aliases,
        family=variant.family,
        paper=variant.paper,
        params=facts["params"],
        trainable_params=facts["trainable_params"],
        macs=facts["macs"],
        image_size=variant.spec.input_shape[0],
        input_shape=variant.spec.input_shape,
        num_classes=variant.spec.num_classes,
        stages=tuple((stage, tuple(shape)) for stage, shape in facts["stages"].items()),
        receptive_field=facts["receptive_field"],
        peak_memory=facts["peak_memory"],
        weights=tuple(checkpoint.source for checkpoint in catalog.known(name)),
    )


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a `.keras` file, with our layers in it, and without running code that it may hold.

    A ValueError says what is wrong with a file that cannot be loaded.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no model file {path}")
    if not path.endswith(".keras"):
        raise ValueError(f"{path} is not a .keras file; weights alone are for create_model(NAME, weights={path!r})")
    try:
        return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # Keras raises whatever it stumbles over
        raise ValueError(f"{path} is damaged, or not a model that can be loaded safely: {error}") from error


def _builder(variant):
    def build(**fields):
        return create_model(variant.name, **fields)

    spec = variant.spec
    parameters = {"weights": None} | {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    build.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in parameters.items()],
        return_annotation=keras.Model,
    )
    build.__name__ = build.__qualname__ = variant.name
    build.__doc__ = f"Builds {variant.name} ({variant.paper}); the keywords are those of `create_model`."
    return build


# Builders are made when they are asked for. But a variant may bear the name of its family's module, as alexnet does:
# importing the family bound that name to the module, and what is bound last stays.
globals().update({name: _builder(registry.lookup(name)) for name in list_models() if name in globals()})
__all__ = ["Classifier", "ModelInfo", "create_model", "list_models", "load_model", "model_info", *list_models()]


def __getattr__(name):
    if (ours := registry.our_name(name)) in list_models():
        return globals().setdefault(ours, _builder(registry.lookup(ours)))
    raise registry.no_attribute("kerascnn.models", name, __all__)
