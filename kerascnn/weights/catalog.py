"""The checkpoints that others publish for our models, and what is known of each without downloading it.

They stand in catalog.json and classes.json, which `python -m tools.make_catalog` writes. Timm's hub has no AlexNet and
no GoogLeNet. Only the standard library is needed here.
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from kerascnn import registry
from kerascnn.weights import forms

FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Published weights, what our model must change to carry them, and how images are prepared for them.

    `crop` is the share of the resized image that is kept at `image_size`, `test_crop` at `test_size`, which is the same
    where no other is published. `mean` and `std` are of values from 0 to 1, red first. `top1` is in percent, as
    `top1_source` states it for images of `top1_size`. `url` and `md5` are for files of keras.applications.
    """

    source: str
    model: str
    form: dict[str, Any]
    naming: str  # whose names its tensors have: a key of torch_tables.TABLES[family], or "keras"
    image_size: tuple[int, int]
    crop: float
    test_size: tuple[int, int]
    test_crop: float
    crop_mode: str  # "center", or "squash": both sides are resized to the same length first
    interpolation: str  # "bilinear" or "bicubic"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int  # 0: features alone
    classes: str | None  # the key of its class names in classes.json
    license: str | None
    top1: float | None
    top1_size: int | None
    top1_source: str | None
    url: str | None = None
    md5: str | None = None  # or SHA-256, which is twice as long
    bgr: bool = False  # it was trained on blue first; its first kernel is turned around, so that our model takes RGB
    labels: tuple[str, ...] | None = None  # class names of its own, where its config.json brings them


# Families whose tensors timm names in another way than torchvision.
TIMM_NAMING = (
    "vgg", "xception", "preact_resnet", "nf_resnet", "senet", "regnet", "dpn", "repvgg", "mobilenet", "mobilenet_v3",
    "mobilenet_v4", "mnasnet", "ghostnet", "efficientnet", "convnext",
)  # fmt: skip

# Timm's ports of TensorFlow's nets begin with tf_.
TF: dict[str, Any] = {"padding": "same", "bn_epsilon": 1e-3}
TF_FAMILIES = ("mobilenet_v3", "efficientnet")

# Timm's architectures that are a model of ours by another name, or with other fields.
# fmt: off
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenetv1_125":       ("mobilenet_v1",       {"width": 1.25}),
    "mobilenetv2_120d":      ("mobilenet_v2_110d",  {"width": 1.2, "depth": 1.4}),
}
# fmt: on

# The list of classes of an ImageNet model by their number, as timm tells them apart.
CLASSES_BY_NUMBER = {
    1000: "imagenet1k", 11221: "imagenet21k_miil", 11821: "imagenet12k", 21841: "imagenet22k",
    21843: "imagenet21k_goog",
}  # fmt: skip

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CROP_MODES = ("center", "squash")
INTERPOLATIONS = ("bilinear", "bicubic")

# What a config.json may give the architecture without changing what it computes.
HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last"}


@functools.cache
def _catalog():
    return json.loads((FOLDER / "catalog.json").read_text("utf-8"))


def known(model: str | None = None) -> list[Checkpoint]:
    """Returns the checkpoints of the catalogue, or those of one model of ours, in its order."""
    rows = _catalog()["checkpoints"]
    return [
        Checkpoint(source=source, model=name, **{key: _tuple(value) for key, value in fields.items()})
        for name in (rows if model is None else [model])
        for source, fields in rows.get(name, {}).items()
    ]


def find(source: str, model: str | None = None) -> Checkpoint:
    """Returns the catalogue's checkpoint `source`, such as "timm:resnet50.a1_in1k", for our model of that name.

    "keras:imagenet" needs the model. A ValueError says what is wrong with a source, and which there are.
    """
    library, _, name = source.partition(":")
    if library not in ("timm", "keras"):
        raise ValueError(f"{source!r} is not in the catalogue, which has sources such as timm:resnet50.a1_in1k")
    return _find_keras(source, name, model) if library == "keras" else _find_timm(source, name, model)


def _find_keras(source, name, model):
    if name != "imagenet":
        raise ValueError(f"no weights {source!r}: keras.applications has keras:imagenet alone")
    ours = {found.model: found for found in known() if found.source == source}
    if model is None:
        raise ValueError(f"{source} is for several models: say which, such as resnet50")
    if model not in ours:
        raise ValueError(f"keras.applications has no weights for {model}; it has them for {', '.join(ours)}")
    return ours[model]


def _find_timm(source, name, model):
    found = {checkpoint.source: checkpoint for checkpoint in known() if checkpoint.source.startswith("timm:")}
    if source in found:
        checkpoint = found[source]
        if model not in (None, checkpoint.model):
            raise ValueError(f"{source} is for {checkpoint.model}, not {model}{_offer(found, model)}")
        return checkpoint
    pickles = _catalog()["pickles"]
    if name in pickles:
        raise ValueError(
            f"timm has {name} as a pickle alone, and pickles are never loaded, because they can run code: download "
            f"{pickles[name]}, and turn it into a file for weights= where PyTorch is installed, with "
            "python -m tools.convert_torch FILE.pth --out=FILE.safetensors"
        )
    for nets in (name.lower(), model or ""):
        for net, word in (("alexnet", "AlexNet"), ("googlenet", "GoogLeNet")):
            if nets.startswith(net):
                raise ValueError(f"no weights {source!r}: timm's hub has no {word}")
    tags = [other for other in found if other.split(".")[0] == source.split(".")[0]]
    if tags and "." not in name:
        raise ValueError(f"{source!r} lacks its tag: choose {_some(tags)}")
    offer = registry.close_names(source, found)
    if not offer.endswith("?"):
        offer = "kerascnn list --weights shows all that are known"
    raise ValueError(f"no weights {source!r}: {offer}")


def _some(sources):
    return ", ".join(sources[:8]) + (f", ... ({len(sources)} in all)" if sources[8:] else "")


def _offer(found, model):
    sources = [source for source, checkpoint in found.items() if checkpoint.model == model]
    return f": for that there is {_some(sources)}" if sources else ""


def our_model(architecture: str) -> tuple[str, dict[str, Any]]:
    """Returns our name of timm's `architecture`, and the overrides that give our model its form.

    A ValueError where none of our models is that net.
    """
    facts = registry.facts()
    if architecture == "senet154":
        raise ValueError("timm's senet154 is Gluon's, whose stem is another; our senet154 is timm's legacy_senet154")
    aliases, ported = registry.our_names(), architecture.removeprefix("tf_")
    if architecture in aliases or ported == architecture:
        ours, fields = aliases.get(architecture, architecture), {}
    else:
        ours, fields = aliases.get(ported, ported), TF
    name, fields = ARCHITECTURES.get(architecture, (ours, fields))
    if name not in facts or (fields is TF and facts[name]["family"] not in TF_FAMILIES):
        raise ValueError(f"no model of ours is timm's {architecture!r}: {registry.close_names(architecture, facts)}")
    return name, forms.form("timm", name) | fields


def naming(model: str) -> str:
    """Returns whose names the tensors of our model have in timm's repositories."""
    return "timm" if registry.facts()[model]["family"] in TIMM_NAMING else "torchvision"


def class_names(key: str) -> tuple[str, ...]:
    """Returns the names of a list of classes in the order of the logits: "imagenet1k" has 1000, in English.

    An unknown list is a ValueError that offers the known ones.
    """
    return _listed(key, "names")


def synsets(key: str) -> tuple[str, ...]:
    """Returns the same list as WordNet's numbers, such as "n01440764": so ImageNet's folders are called."""
    return _listed(key, "synsets")


def _listed(key, kind):
    lists = _classes()
    if key not in lists:
        raise ValueError(f"no list of classes {key!r}: {registry.close_names(key, lists)}")
    return tuple(lists[key][kind])


@functools.cache
def _classes():
    return json.loads((FOLDER / "classes.json").read_text("utf-8"))


def _tuple(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(value)  # a copy, so that nobody changes what is cached
    return tuple(value) if isinstance(value, list) else value


def from_config(source: str, config: Mapping[str, Any]) -> Checkpoint:
    """Returns what a config.json in timm's style says of the weights beside it.

    Fields that it lacks have timm's defaults. Anything in it may be wrong, since it comes from outside: a ValueError
    names the field, and what it must be.
    """
    _must(isinstance(config, Mapping), source, "config.json", "an object, as timm writes it", config)
    published = config.get("pretrained_cfg", config)  # older ones have its fields at the top
    _must(isinstance(published, Mapping), source, "pretrained_cfg", "an object", published)
    take = functools.partial(_take, source, published)
    architecture = _take(source, config, "architecture", _text)
    try:
        model, form = our_model(architecture)
    except ValueError as error:
        raise ValueError(f"{source}: architecture in its config.json: {error}") from None
    _check_unchanged(source, config, published)
    count = _take(source, config if "num_classes" in config else published, "num_classes", _count)
    labels, classes = _labels(source, config, published, count)
    height, width, channels = registry.facts()[model]["input_shape"]
    channels, *image_size = take("input_size", _shape, (channels, height, width))
    color = channels == 3
    mean = take("mean", _channels, IMAGENET_MEAN if color else None)
    std = take("std", _channels, IMAGENET_STD if color else None)
    for key, values in (("mean", mean), ("std", std)):
        _must(len(values) == channels, source, key, f"{channels} numbers, as input_size has channels", values)
    _must(min(std) > 0, source, "std", "above 0", std)
    crop = take("crop_pct", _share, 0.875)
    return Checkpoint(
        source=source,
        model=model,
        form=form,
        naming=naming(model),
        image_size=tuple(image_size),
        crop=crop,
        test_size=take("test_input_size", _shape, (channels, *image_size))[1:],
        test_crop=take("test_crop_pct", _share, crop),
        crop_mode=take("crop_mode", _crop_mode, "center"),
        interpolation=take("interpolation", _interpolation, "bicubic"),
        mean=mean if color else mean * 3,
        std=std if color else std * 3,
        num_classes=count,
        classes=classes,
        license=take("license", _text, "") or None,
        top1=None,
        top1_size=None,
        top1_source=None,
        labels=labels,
    )


def _take(source, place, key, check, default=None):
    """A field's value as `check` gives it. Without a default it must be there; null is as if it were not."""
    value = place.get(key)
    if value is None and default is not None:
        return default
    fitting = check(value)
    _must(fitting is not None, source, key, check.__doc__, value)
    return fitting


def _must(holds, source, key, what, value):
    if not holds:
        told = repr(value)
        told = "missing" if value is None else f"{told[:60]}..." if len(told) > 60 else told
        raise ValueError(f"{source}: {key} in its config.json must be {what}, but is {told}")


# What a field may be: each returns its value, or None where it is something else.


def _text(value):
    """text, of 100 characters at most"""
    return value if isinstance(value, str) and len(value) <= 100 else None


def _count(value):
    """a whole number, 0 or more"""
    return value if type(value) is int and value >= 0 else None


def _shape(value):
    """[channels, height, width], with 1 or 3 channels"""
    fits = isinstance(value, list | tuple) and len(value) == 3 and all(type(side) is int and side > 0 for side in value)
    return tuple(value) if fits and value[0] in (1, 3) else None


def _channels(value):
    """finite numbers, one for each channel"""
    fits = isinstance(value, list | tuple) and all(map(_is_number, value))
    return tuple(map(float, value)) if fits else None


def _share(value):
    """a number above 0, and 1 or less"""
    return float(value) if _is_number(value) and 0 < value <= 1 else None


def _crop_mode(value):
    """center or squash"""
    return value if value in CROP_MODES else None


def _interpolation(value):
    """bilinear or bicubic"""
    return value if value in INTERPOLATIONS else None


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_unchanged(source, config, published):
    """A ValueError where the file gives the architecture another form than its name says."""
    arguments = config.get("model_args") or {}
    _must(isinstance(arguments, Mapping), source, "model_args", "an object", arguments)
    changed = sorted(set(arguments) - HARMLESS)
    if config.get("global_pool", "avg") not in ("avg", "", None):
        changed.append("global_pool")
    if published.get("label_offset"):
        changed.append("label_offset")
    if changed:
        raise ValueError(
            f"{source}: its config.json changes the net by {', '.join(changed)}: load the file itself, with "
            "create_model(NAME, weights=FILE) and the fields that give our model the same form"
        )


def _labels(source, config, published, count):
    """The class names that the file brings, and the list of classes that it has otherwise."""
    names = next((place["label_names"] for place in (config, published) if place.get("label_names")), None)
    if names is None or not count:
        return None, CLASSES_BY_NUMBER.get(count)
    if isinstance(names, Mapping):  # by number, where some numbers have no name
        names = [names.get(str(number), str(number)) for number in range(count)]
    fits = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) and len(names) == count
    _must(fits, source, "label_names", f"{count} texts, as num_classes says", names)
    for key, listed in _classes().items():
        if list(names) in (listed["names"], listed["synsets"]):
            return None, key
    described = next(
        (place["label_descriptions"] for place in (config, published) if place.get("label_descriptions")), {}
    )
    _must(isinstance(described, Mapping), source, "label_descriptions", "an object", described)
    return tuple(str(described.get(name, name)) for name in names), None
