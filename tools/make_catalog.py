"""Writes what is known of published weights: kerascnn/weights/catalog.json and classes.json.

    python -m tools.make_catalog --part=timm [--results=FILE ...]    with torch, torchvision, timm and absl-py
    python -m tools.make_catalog --part=keras                        with what kerascnn requires

Each part replaces its own rows. Timm's are the configurations in its wheel, of all architectures that our models can
be; the lists of classes are its too. Those of keras.applications are what its functions would download, which is noted
and not done. --results names a table of results as timm publishes them, such as results-imagenet.csv: top-1 comes from
the row with the image size and the crop of a checkpoint, else from the one with its test size. Without one, only
torchvision's own weights have a top-1, from torchvision's wheel. What no publisher states is null.
"""

import csv
import dataclasses
import json
import pathlib
import re
import sys
import types

from absl import flags

from kerascnn import console, registry

from . import torch_golden

WEIGHTS = pathlib.Path(registry.__file__).parent / "weights"


def without_keras():
    """Lets `kerascnn.weights.catalog` be imported where there is no Keras, which its package imports."""
    try:
        import keras  # noqa: F401
    except ImportError:
        package = types.ModuleType("kerascnn.weights")
        package.__path__ = [str(WEIGHTS)]
        sys.modules.setdefault("kerascnn.weights", package)


without_keras()
from kerascnn.weights import catalog, forms  # noqa: E402

# The lists in timm's wheel, by our key.
CLASSES = {
    "imagenet1k": "imagenet-1k", "imagenet12k": "imagenet-12k", "imagenet21k_miil": "imagenet-21k-miil",
    "imagenet22k": "imagenet-22k", "imagenet21k_goog": "imagenet-21k-goog",
}  # fmt: skip

# Top-1 of that page; MobileNetV3's is in the docstrings. The README of keras-applications, where the figures come
# from, says that each net saw images of the size that it has by default.
KERAS_PAGE = "https://keras.io/api/applications"
KERAS_TOP1 = {
    "VGG16": 71.3, "VGG19": 71.3, "ResNet50": 74.9, "ResNet50V2": 76.0, "ResNet101": 76.4, "ResNet101V2": 77.2,
    "ResNet152": 76.6, "ResNet152V2": 78.0, "MobileNet": 70.4, "MobileNetV2": 71.3, "DenseNet121": 75.0,
    "DenseNet169": 76.2, "DenseNet201": 77.3, "EfficientNetB0": 77.1, "EfficientNetB1": 79.1, "EfficientNetB2": 80.1,
    "EfficientNetB3": 81.6, "EfficientNetB4": 82.9, "EfficientNetB5": 83.6, "EfficientNetB6": 84.0,
    "EfficientNetB7": 84.3, "EfficientNetV2B0": 78.7, "EfficientNetV2B1": 79.8, "EfficientNetV2B2": 80.5,
    "EfficientNetV2B3": 82.0, "EfficientNetV2S": 83.9, "EfficientNetV2M": 85.3, "EfficientNetV2L": 85.7,
    "Xception": 79.0, "InceptionV3": 77.9, "InceptionResNetV2": 80.3, "NASNetMobile": 74.4,
}  # fmt: skip

# How keras.applications prepares images, by the beginning of the class: (mean, std, BGR). EfficientNets and ConvNeXts
# do it inside.
CAFFE = ((103.939 / 255, 116.779 / 255, 123.68 / 255)[::-1], (1 / 255,) * 3, True)
HALF = ((0.5,) * 3, (0.5,) * 3, False)
CENTRED = ((128 / 255,) * 3, (128 / 255,) * 3, False)
TORCH = (catalog.IMAGENET_MEAN, catalog.IMAGENET_STD, False)
KERAS_IMAGES = {
    r"VGG\d+": CAFFE,
    r"ResNet\d+": CAFFE,
    r"ResNet\d+V2": HALF,
    r"MobileNet.*": HALF,
    r"(In|X)ception.*|NASNet.*": HALF,
    r"DenseNet\d+": TORCH,
    r"EfficientNet(V2)?B\d": TORCH,
    r"EfficientNetV2[SML]": CENTRED,
    r"ConvNeXt\w+": TORCH,
}

# Our models that are a class of keras.applications with arguments.
KERAS_VARIANTS = {
    "mobilenet_v1_075": ("MobileNet", {"alpha": 0.75}),
    "mobilenet_v1_050": ("MobileNet", {"alpha": 0.5}),
    "mobilenet_v1_025": ("MobileNet", {"alpha": 0.25}),
    "mobilenet_v2_035": ("MobileNetV2", {"alpha": 0.35}),
    "mobilenet_v2_050": ("MobileNetV2", {"alpha": 0.5}),
    "mobilenet_v2_075": ("MobileNetV2", {"alpha": 0.75}),
    "mobilenet_v2_140": ("MobileNetV2", {"alpha": 1.4}),
    "mobilenet_v3_large_075": ("MobileNetV3Large", {"alpha": 0.75}),
    "mobilenet_v3_large_minimal": ("MobileNetV3Large", {"minimalistic": True}),
    "mobilenet_v3_small_075": ("MobileNetV3Small", {"alpha": 0.75}),
    "mobilenet_v3_small_minimal": ("MobileNetV3Small", {"minimalistic": True}),
}


def timm_checkpoints(results):
    """Returns timm's checkpoints of our models, and {name: address} of those that it has as pickles alone."""
    torch_golden.libraries()
    import timm

    found, pickles = [], {}
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name)
        try:
            model, form = catalog.our_model(config.architecture)
        except ValueError:
            continue
        if config.num_classes and config.num_classes not in catalog.CLASSES_BY_NUMBER:
            continue  # CLIP's, whose outputs are no classes but stand beside those of a text
        if config.hf_hub_id is None:
            pickles[name] = config.url
            continue
        if config.hf_hub_id != f"timm/{name}" or config.hf_hub_filename or config.label_offset:
            raise ValueError(f"{name} is {config}: this tool knows only a repository of that name, without an offset")
        found.append(timm_checkpoint(f"timm:{name}", model, form, config, results))
    return found, pickles


def timm_checkpoint(source, model, form, config, results):
    if config.crop_mode not in catalog.CROP_MODES or config.interpolation not in catalog.INTERPOLATIONS:
        raise ValueError(f"{source}: no crop {config.crop_mode!r} with {config.interpolation!r} is known here")
    checkpoint = catalog.Checkpoint(
        source=source,
        model=model,
        form=form,
        naming=catalog.naming(model),
        image_size=tuple(config.input_size[1:]),
        crop=config.crop_pct,
        test_size=tuple((config.test_input_size or config.input_size)[1:]),
        test_crop=config.test_crop_pct or config.crop_pct,
        crop_mode=config.crop_mode,
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
        num_classes=config.num_classes,
        classes=catalog.CLASSES_BY_NUMBER.get(config.num_classes),
        license=config.license,
        top1=None,
        top1_size=None,
        top1_source=None,
    )
    top1 = published_top1(checkpoint, results) or torchvision_top1(checkpoint) or {}
    return dataclasses.replace(checkpoint, **top1)


def read_results(paths):
    """Returns {(model, image size): [(crop, top-1, the file's name)]} of timm's tables of results."""
    rows = {}
    for path in map(pathlib.Path, paths):
        with path.open(newline="", encoding="utf-8") as lines:
            table = csv.DictReader(lines)
            lacking = {"model", "img_size", "top1", "crop_pct"} - set(table.fieldnames or ())
            if lacking:
                raise ValueError(
                    f"{path} is no table of timm's results: it lacks the columns {', '.join(sorted(lacking))}"
                )
            for number, row in enumerate(table, 2):
                try:
                    size, entry = int(row["img_size"]), (float(row["crop_pct"]), float(row["top1"]), path.name)
                except (TypeError, ValueError) as error:
                    raise ValueError(f"line {number} of {path}: {error}") from None
                rows.setdefault((row["model"], size), []).append(entry)
    return rows


def published_top1(checkpoint, results):
    """The top-1 of the tables, or None: of the image size if it is there, with the crop that the checkpoint names."""
    name = checkpoint.source.removeprefix("timm:")
    for (size, _), crop in ((checkpoint.image_size, checkpoint.crop), (checkpoint.test_size, checkpoint.test_crop)):
        for measured, top1, file in results.get((name, size), ()):
            if abs(measured - crop) < 0.001:
                return {"top1": top1, "top1_size": size, "top1_source": file}
    return None


def torchvision_top1(checkpoint):
    """What torchvision states for weights of its own, or None for those of others."""
    import torchvision

    architecture, _, tag = checkpoint.source.removeprefix("timm:").partition(".")
    version = {"tv_in1k": "IMAGENET1K_V1", "tv2_in1k": "IMAGENET1K_V2"}.get(tag)
    if version is None:
        return None
    weights = torchvision.models.get_model_weights(architecture)[version]
    return {
        "top1": weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
        "top1_size": weights.transforms().crop_size[0],
        "top1_source": f"torchvision {torchvision.__version__.partition('+')[0]}",
    }


def timm_classes():
    """Returns classes.json: lists of class names and WordNet's synsets, in the order of the logits."""
    torch_golden.libraries()
    import timm.data

    lists = {}
    for key, subset in CLASSES.items():
        info = timm.data.ImageNetInfo(subset)
        lists[key] = {
            "source": f"timm {timm.__version__}, timm/data/_info: {subset}",
            "names": info.label_descriptions(),
            "synsets": info.label_names(),
        }
    return lists


def keras_checkpoints():
    """Returns the checkpoints of keras.applications, from what its functions would download."""
    variants = keras_variants()
    return [keras_checkpoint(model, *variants[model]) for model in registry.facts() if model in variants]


def keras_variants():
    """Returns {our model: (its class in keras.applications, the arguments)}."""
    from kerascnn.weights import keras_names

    return {ours: (name, {}) for name, ours in keras_names.OURS.items()} | KERAS_VARIANTS


class Requested(Exception):
    """Carries what `keras.utils.get_file` was asked for."""


def requested(build, arguments):
    """Returns (address, MD5 or None) of the file that a class of keras.applications would download."""
    import keras

    files = sys.modules[keras.utils.get_file.__module__]
    original = files.get_file

    def note(fname, origin, *, file_hash=None, **_):
        raise Requested(origin, file_hash)

    files.get_file = note
    try:
        build(weights="imagenet", **arguments)
    except Requested as error:
        return error.args
    finally:
        files.get_file = original
        keras.backend.clear_session()
    raise ValueError(f"{build.__name__} asks for no weights")


def keras_checkpoint(model, name, arguments):
    import keras

    build = getattr(keras.applications, name)
    address, md5 = requested(build, arguments)
    mean, std, bgr = next(images for pattern, images in KERAS_IMAGES.items() if re.fullmatch(pattern, name))
    size = registry.facts()[model]["input_shape"][0]
    top1, top1_source = keras_top1(name, arguments, build.__doc__)
    return catalog.Checkpoint(
        source="keras:imagenet",
        model=model,
        form=forms.form("keras", model),
        naming="keras",
        # Keras publishes no crop and no interpolation; these are what most nets of that time were tested with.
        image_size=(size, size),
        crop=0.875,
        test_size=(size, size),
        test_crop=0.875,
        crop_mode="center",
        interpolation="bilinear",
        mean=mean,
        std=std,
        num_classes=1000,
        classes="imagenet1k",
        license=None,
        top1=top1,
        top1_size=size if top1 else None,
        top1_source=top1_source,
        url=address,
        md5=md5,
        bgr=bgr,
    )


def keras_top1(name, arguments, doc):
    """(top-1, where it stands) of a class of keras.applications with some arguments."""
    import keras

    if name.startswith("MobileNetV3"):
        kind = "minimalistic_" if arguments.get("minimalistic") else ""
        row = f"mobilenet_v3_{name[11:].lower()}_{kind}{arguments.get('alpha', 1.0):.3g}"
        row = row if "." in row else f"{row}.0"
        top1 = re.search(rf"\| {re.escape(row)}_224 *\|[^|]*\|[^|]*\| *([\d.]+) *\|", doc)
        return (float(top1[1]), f"keras {keras.__version__}, docstring") if top1 else (None, None)
    return (KERAS_TOP1[name], KERAS_PAGE) if name in KERAS_TOP1 and not arguments else (None, None)


def row(checkpoint):
    """The fields of a checkpoint as catalog.json holds them; the last ones only where they say something."""
    fields = {}
    for field in dataclasses.fields(checkpoint):
        value = getattr(checkpoint, field.name)
        if field.name not in ("source", "model") and not (
            field.default is not dataclasses.MISSING and value == field.default
        ):
            fields[field.name] = value
    return fields


def merged(old, checkpoints, library):
    """The rows of all libraries, with those of one replaced: in the order of our models, timm's first."""
    kept = {
        model: {source: fields for source, fields in rows.items() if not source.startswith(f"{library}:")}
        for model, rows in old.items()
    }
    for checkpoint in checkpoints:
        kept.setdefault(checkpoint.model, {})[checkpoint.source] = row(checkpoint)
    models = [model for model in registry.facts() if kept.get(model)]
    return {model: dict(sorted(kept[model].items(), key=order)) for model in models}


def order(item):
    """Timm's before Keras's, and numbers by their size."""
    source = item[0]
    return source.startswith("keras:"), [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", source)]


def text(rows, pickles):
    """catalog.json, a line for each checkpoint."""
    models = []
    for model, sources in rows.items():
        lines = [f"   {json.dumps(source)}: {json.dumps(fields)}" for source, fields in sources.items()]
        models.append(f"  {json.dumps(model)}: {braced(lines, '  ')}")
    listed = [f"  {json.dumps(name)}: {json.dumps(address)}" for name, address in pickles.items()]
    parts = {"checkpoints": models, "pickles": listed}
    return braced([f' "{name}": ' + braced(lines, " ") for name, lines in parts.items()])


def braced(lines, indent=""):
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def classes_text(lists):
    """classes.json, a line for each list."""
    rows = []
    for key, fields in lists.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
        rows.append(f" {json.dumps(key)}: {braced(lines, ' ')}")
    return braced(rows)


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_enum("part", None, ["timm", "keras"], "whose rows to write", flag_values=values)
    flags.DEFINE_multi_string("results", [], "a table of timm's results, .csv; may be repeated", flag_values=values)
    if console.parse_flags(values, __doc__) or values.part is None:
        console.fail("give --part=timm, where timm is installed, or --part=keras.")
    path = WEIGHTS / "catalog.json"
    old = json.loads(path.read_text("utf-8")) if path.exists() else {"checkpoints": {}, "pickles": {}}
    pickles = old["pickles"]
    try:
        if values.part == "timm":
            checkpoints, pickles = timm_checkpoints(read_results(values.results))
            (WEIGHTS / "classes.json").write_text(classes_text(timm_classes()) + "\n", "utf-8")
        else:
            checkpoints = keras_checkpoints()
    except (ImportError, OSError, ValueError) as error:
        console.fail(error)
    path.write_text(text(merged(old["checkpoints"], checkpoints, values.part), pickles) + "\n", "utf-8")
    known = sum(checkpoint.top1 is not None for checkpoint in checkpoints)
    print(f"{path}: {len(checkpoints)} checkpoints of {values.part}, {known} with a top-1")


if __name__ == "__main__":
    main()
