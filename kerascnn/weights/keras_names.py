"""How keras.applications names the layers of our models.

A family has a function of the spec that gives rules (see kerascnn.weights.names). The layouts are the same on both
sides, but for axes of length one: a fully connected layer here may be a 1x1 convolution there, or the other way round.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kerascnn import registry
from kerascnn.weights import names
from kerascnn.weights.names import Rules, block_numbers

# What a class of keras.applications is here, in the form of weights.form("keras", name). Its alpha=0.75 is width=0.75,
# and its minimalistic=True is minimal=True, activation="relu". Its MobileNet pads in another way where a map of odd
# size shrinks: the two agree where the sides of an image are multiples of 32, as in all that it was trained on.
# fmt: off
OURS: dict[str, str] = {
    "VGG16":            "vgg16",
    "VGG19":            "vgg19",
    "ResNet50":         "resnet50",
    "ResNet101":        "resnet101",
    "ResNet152":        "resnet152",
    "ResNet50V2":       "resnetv2_50",
    "ResNet101V2":      "resnetv2_101",
    "ResNet152V2":      "resnetv2_152",
    "InceptionV3":      "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "DenseNet121":      "densenet121",
    "DenseNet169":      "densenet169",
    "DenseNet201":      "densenet201",
    "Xception":         "xception",
    "MobileNet":        "mobilenet_v1",
    "MobileNetV2":      "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3_large",
    "MobileNetV3Small": "mobilenet_v3_small",
    "EfficientNetB0":   "efficientnet_b0",
    "EfficientNetB1":   "efficientnet_b1",
    "EfficientNetB2":   "efficientnet_b2",
    "EfficientNetB3":   "efficientnet_b3",
    "EfficientNetB4":   "efficientnet_b4",
    "EfficientNetB5":   "efficientnet_b5",
    "EfficientNetB6":   "efficientnet_b6",
    "EfficientNetB7":   "efficientnet_b7",
    "NASNetMobile":     "nasnet_mobile",
    "NASNetLarge":      "nasnet_large",
    "EfficientNetV2B0": "efficientnet_v2_b0",
    "EfficientNetV2B1": "efficientnet_v2_b1",
    "EfficientNetV2B2": "efficientnet_v2_b2",
    "EfficientNetV2B3": "efficientnet_v2_b3",
    "EfficientNetV2S":  "efficientnet_v2_s",
    "EfficientNetV2M":  "efficientnet_v2_m",
    "EfficientNetV2L":  "efficientnet_v2_l",
    "ConvNeXtTiny":     "convnext_tiny",
    "ConvNeXtSmall":    "convnext_small",
    "ConvNeXtBase":     "convnext_base",
    "ConvNeXtLarge":    "convnext_large",
    "ConvNeXtXLarge":   "convnext_xlarge",
}
# fmt: on

# The three convolutions of a mobile block, in MobileNetV2 and V3.
PARTS = {1: "expand", 2: "depthwise", 3: "project"}


def _vgg(spec: Any) -> Rules:
    return [
        (r"stage(\d+)_conv(\d+)", lambda s, n: f"block{s}_conv{n}"),
        (r"dense(\d)", lambda n: f"fc{n}"),
        (r"logits", lambda: "predictions"),
    ]


def _resnet(spec: Any) -> Rules:
    return [
        (r"stem_conv", lambda: "conv1_conv"),
        (r"stem_norm", lambda: "conv1_bn"),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"conv{s + 1}_block{b}_{n}_conv"),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"conv{s + 1}_block{b}_{n}_bn"),
        (r"stage(\d+)_block(\d+)_shortcut_conv", lambda s, b: f"conv{s + 1}_block{b}_0_conv"),
        (r"stage(\d+)_block(\d+)_shortcut_norm", lambda s, b: f"conv{s + 1}_block{b}_0_bn"),
        (r"logits", lambda: "predictions"),
    ]


def _preact_resnet(spec: Any) -> Rules:
    return [
        (r"stem_conv", lambda: "conv1_conv"),
        (r"stage(\d+)_block(\d+)_preact_norm", lambda s, b: f"conv{s + 1}_block{b}_preact_bn"),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"conv{s + 1}_block{b}_{n}_conv"),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"conv{s + 1}_block{b}_{n}_bn"),
        (r"stage(\d+)_block(\d+)_shortcut_conv", lambda s, b: f"conv{s + 1}_block{b}_0_conv"),
        (r"head_norm", lambda: "post_bn"),
        (r"logits", lambda: "predictions"),
    ]


def _inception_v3(spec: Any) -> Rules:
    # Convolutions are numbered as they are made, which is branch by branch; see AUTOMATIC.
    numbers: dict[str, int] = {}
    for s, stage in enumerate(spec.stages, 1):
        for b, module in enumerate(stage, 1):
            for i, branch in enumerate(module.branches, 1):
                name = f"stage{s}_block{b}_" + (f"branch{i}_" if len(module.branches) > 1 else "")
                convs = [step for step in branch.split(", ") if step not in ("avg", "max")]
                for n, step in enumerate(convs, 1):
                    for half in ("a", "b") if " + " in step else ("",):
                        numbers[f"{name}{n}{half}"] = len(numbers) + 1

    def residual(stage, block):
        before = sum(not module.scale for module in spec.stages[stage - 1][: block - 1])
        return f"block{({3: 35, 4: 17, 5: 8})[stage]}_{block - before}_conv"

    return [
        (r"(stage\d_block\d+_(?:branch\d_)?)conv(\d[ab]?)", lambda at, n: f"conv2d_{numbers[f'{at}{n}']}"),
        (r"(stage\d_block\d+_(?:branch\d_)?)norm(\d[ab]?)", lambda at, n: f"batch_normalization_{numbers[f'{at}{n}']}"),
        (r"stage(\d)_block(\d+)_conv", residual),
        (r"head_conv", lambda: "conv_7b"),
        (r"head_norm", lambda: "conv_7b_bn"),
        (r"logits", lambda: "predictions"),
    ]


def _densenet(spec: Any) -> Rules:
    return [
        (r"stem_conv", lambda: "conv1_conv"),
        (r"stem_norm", lambda: "conv1_bn"),
        (r"stage(\d+)_block(\d+)_preact_norm", lambda s, b: f"conv{s + 1}_block{b}_0_bn"),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"conv{s + 1}_block{b}_{n}_conv"),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"conv{s + 1}_block{b}_{n}_bn"),
        (r"stage(\d+)_transition_norm", lambda s: f"pool{s}_bn"),
        (r"stage(\d+)_transition_conv", lambda s: f"pool{s}_conv"),
        (r"stage\d+_norm", lambda: "bn"),
        (r"logits", lambda: "predictions"),
    ]


def _xception(spec: Any) -> Rules:
    numbers = block_numbers(row.stride for row in spec.rows)
    strided = [at for at, number in numbers.items() if spec.rows[number].stride > 1]

    def sepconv(stage, block, n):
        return f"block{numbers[stage, block] + 2}_sepconv{(n + 1) // 2}"

    return [
        (r"stem_conv(\d)", lambda n: f"block1_conv{n}"),
        (r"stem_norm(\d)", lambda n: f"block1_conv{n}_bn"),
        (
            r"stage(\d+)_block(\d+)_conv(\d)",
            lambda s, b, n: sepconv(s, b, n) + ("/depthwise" if n % 2 else "/pointwise"),
        ),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"{sepconv(s, b, n)}_bn"),
        (r"stage(\d+)_block(\d+)_shortcut_conv", lambda s, b: f"conv2d_{strided.index((s, b)) + 1}"),
        (r"stage(\d+)_block(\d+)_shortcut_norm", lambda s, b: f"batch_normalization_{strided.index((s, b)) + 1}"),
        (r"logits", lambda: "predictions"),
    ]


def _nasnet(spec: Any) -> Rules:
    def cell(stage, block):
        """The kind of a cell and its name: a number, which reductions behind the stem take, too."""
        if block == 1:
            at = {2: "stem_1", 3: "stem_2", 4: f"reduce_{spec.depths[0]}", 5: f"reduce_{sum(spec.depths[:2])}"}
            return "reduction", at[stage]
        return "normal", str(sum(spec.depths[: stage - 3]) + block - 2 + (stage > 3))

    def separable(stage, block, part, n, norm=""):
        kind, at = cell(stage, block)
        part = "left4" if (kind, part) == ("reduction", "left5") else part  # so it is called there
        return f"separable_conv_{(n + 1) // 2}{norm}_{kind}_{part}_{at}"

    return [
        (r"stem_conv", lambda: "stem_conv1"),
        (r"stem_norm", lambda: "stem_bn1"),
        (
            r"stage(\d)_block(\d+)_(left\d|right\d)_conv(\d)",
            lambda s, b, p, n: separable(s, b, p, n) + ("/depthwise" if n % 2 else "/pointwise"),
        ),
        (r"stage(\d)_block(\d+)_(left\d|right\d)_norm(\d)", lambda s, b, p, n: separable(s, b, p, n, "_bn")),
        (r"stage(\d)_block(\d+)_input_conv", lambda s, b: "{}_conv_1_{}".format(*cell(s, b))),
        (r"stage(\d)_block(\d+)_input_norm", lambda s, b: "{}_bn_1_{}".format(*cell(s, b))),
        (r"stage(\d)_block(\d+)_adjust_conv(\d)", lambda s, b, n: f"adjust_conv_{n}_{cell(s, b)[1]}"),
        (r"stage(\d)_block(\d+)_adjust_conv", lambda s, b: f"adjust_conv_projection_{cell(s, b)[1]}"),
        (r"stage(\d)_block(\d+)_adjust_norm", lambda s, b: f"adjust_bn_{cell(s, b)[1]}"),
        (r"logits", lambda: "predictions"),
    ]


def _mobilenet_v1(spec: Any) -> Rules:
    def number(stage, block):
        return sum(spec.depths[: stage - 1]) + block

    return [
        (r"stem_conv", lambda: "conv1"),
        (r"stem_norm", lambda: "conv1_bn"),
        (r"stage(\d+)_block(\d+)_conv1", lambda s, b: f"conv_dw_{number(s, b)}"),
        (r"stage(\d+)_block(\d+)_norm1", lambda s, b: f"conv_dw_{number(s, b)}_bn"),
        (r"stage(\d+)_block(\d+)_conv2", lambda s, b: f"conv_pw_{number(s, b)}"),
        (r"stage(\d+)_block(\d+)_norm2", lambda s, b: f"conv_pw_{number(s, b)}_bn"),
        (r"logits", lambda: "conv_preds"),
    ]


def _mobilenet(spec: Any) -> Rules:
    if hasattr(spec, "depths"):
        return _mobilenet_v1(spec)
    numbers = block_numbers(row.stride for _, row in spec.blocks)

    def part(stage, block, n):
        number = numbers[stage, block]
        return (f"block_{number}_" if number else "expanded_conv_") + PARTS[n]

    return [
        (r"stem_conv", lambda: "Conv1"),
        (r"stem_norm", lambda: "bn_Conv1"),
        (r"stage(\d+)_block(\d+)_conv(\d)", part),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"{part(s, b, n)}_BN"),
        (r"head_conv", lambda: "Conv_1"),
        (r"head_norm", lambda: "Conv_1_bn"),
        (r"logits", lambda: "predictions"),
    ]


def _mobilenet_v3(spec: Any) -> Rules:
    numbers = block_numbers(row.stride for row in spec.rows)

    def prefix(stage, block):
        number = numbers[stage, block]
        return f"expanded_conv_{number}_" if number else "expanded_conv_"

    return [
        (r"stem_conv", lambda: "conv"),
        (r"stem_norm", lambda: "conv_bn"),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"{prefix(s, b)}{PARTS[n]}"),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"{prefix(s, b)}{PARTS[n]}_bn"),
        (r"stage(\d+)_block(\d+)_se_conv1", lambda s, b: f"{prefix(s, b)}squeeze_excite_conv"),
        (r"stage(\d+)_block(\d+)_se_conv2", lambda s, b: f"{prefix(s, b)}squeeze_excite_conv_1"),
        (r"head_conv", lambda: "conv_1"),
        (r"head_norm", lambda: "conv_1_bn"),
        (r"dense1", lambda: "conv_2"),
        (r"logits", lambda: "logits"),
    ]


def _efficientnet(spec: Any) -> Rules:
    blocks = spec.blocks
    numbers = block_numbers(row.stride for _, row in blocks)
    rows = [i for i, _ in blocks]
    v2 = spec.rows[0].kind == "Fused-MBConv"

    def prefix(stage, block):
        number = numbers[stage, block]
        row = rows[number]
        return f"block{row + 1}{chr(ord('a') + number - rows.index(row))}_"

    def parts(stage, block):
        row = blocks[numbers[stage, block]][1]
        if row.kind == "Fused-MBConv":
            return {1: "expand", 2: "project"} if row.expand > 1 else {1: "project"}
        return {1: "expand", 2: "dw", 3: "project"}

    def conv(stage, block, n):
        part = parts(stage, block)[n]
        return prefix(stage, block) + (f"dwconv{2 if v2 else ''}" if part == "dw" else f"{part}_conv")

    def norm(stage, block, n):
        part = parts(stage, block)[n]
        return prefix(stage, block) + ("bn" if part == "dw" else f"{part}_bn")

    return [
        (r"stem_conv", lambda: "stem_conv"),
        (r"stem_norm", lambda: "stem_bn"),
        (r"stage(\d+)_block(\d+)_conv(\d)", conv),
        (r"stage(\d+)_block(\d+)_norm(\d)", norm),
        (r"stage(\d+)_block(\d+)_se_conv1", lambda s, b: f"{prefix(s, b)}se_reduce"),
        (r"stage(\d+)_block(\d+)_se_conv2", lambda s, b: f"{prefix(s, b)}se_expand"),
        (r"head_conv", lambda: "top_conv"),
        (r"head_norm", lambda: "top_bn"),
        (r"logits", lambda: "predictions"),
    ]


# What ConvNeXts are called there, by their blocks and the channels of the first: so each of their layers begins.
CONVNEXTS = {(18, 96): "tiny", (36, 96): "small", (36, 128): "base", (36, 192): "large", (36, 256): "xlarge"}


def _convnext(spec: Any) -> Rules:
    size = CONVNEXTS.get((sum(spec.depths), spec.widths[0]))
    part = {"conv1": "depthwise_conv", "norm1": "layernorm", "conv2": "pointwise_conv_1", "conv3": "pointwise_conv_2"}
    part |= {"scale": "layer_scale"}
    rules: Rules = [  # a norm and a convolution that follow each other are one layer there
        (r"stem_\w+", lambda: "stem"),
        (r"stage(\d+)_downsample_\w+", lambda s: f"downsampling_block_{s - 2}"),
        (r"stage(\d+)_block(\d+)_(\w+)", lambda s, b, k: f"stage_{s - 1}_block_{b - 1}_{part[k]}"),
        (r"head_norm", lambda: "head_layernorm"),
        (r"logits", lambda: "head_dense"),
    ]

    def prefixed(rule):
        return lambda *caught: f"convnext_{size}_{rule(*caught)}"

    return [(pattern, prefixed(rule)) for pattern, rule in rules if size]


TABLES: dict[str, Callable[[Any], Rules]] = {
    "vgg": _vgg,
    "resnet": _resnet,
    "preact_resnet": _preact_resnet,
    "inception_v3": _inception_v3,
    "densenet": _densenet,
    "xception": _xception,
    "mobilenet": _mobilenet,
    "mobilenet_v3": _mobilenet_v3,
    "efficientnet": _efficientnet,
    "convnext": _convnext,
    "nasnet": _nasnet,
}

# Layers that keras.applications has and no model of ours, as the beginnings of their names: preprocessing.
UNUSED: tuple[str, ...] = ("normalization", *(f"convnext_{size}_prestem" for size in CONVNEXTS.values()))


# Layers that have no name of their own, which Keras numbers by how many of their class were made before; in assign's
# tensors from 1 on, as in the published files, whichever number the first has.
AUTOMATIC = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")

# The two kernels of a separable convolution, which are two layers here.
SEPARABLE = {
    "kernel": "depthwise/kernel", "depthwise_kernel": "depthwise/kernel", "pointwise_kernel": "pointwise/kernel",
}  # fmt: skip


def kind_today(kind: str) -> str:
    """Returns what a weight is called here. Older files have other names, and the scales of ConvNeXt have none."""
    return "scale" if re.fullmatch(r"[Vv]ariable(_\d+)?", kind) else {"depthwise_kernel": "kernel"}.get(kind, kind)


def tensors_of(model: keras.Model) -> dict[tuple[str, str], np.ndarray]:
    """Returns the weights of a model of keras.applications by the names of layer and weight, as `assign` takes them."""
    return {
        (layer.name, weight.name): np.asarray(weight)
        for layer in model.layers
        for weight in layer.weights
        if weight.dtype != "uint32"  # the states of random generators are no weights
    }


def assign(
    model: keras.Model, tensors: Mapping[tuple[str, str], np.ndarray], source: str = "the file", **adapting: bool
) -> list[str]:
    """Gives a model the weights of one of keras.applications: arrays by the names of layer and weight.

    Nothing is assigned unless every weight has its array and every array its weight: else a ValueError lists all that
    do not. `source` is what errors call the arrays. `adapting` is `classifier` and `channels` of
    kerascnn.weights.names.assign. Returns the names of the arrays that were left out.
    """
    variant = registry.lookup(model.variant)
    if variant.family not in TABLES:
        raise ValueError(f"{source} does not fit {model.name}: keras.applications has no model of its family")
    rules = TABLES[variant.family](registry.override(variant, model.overrides))
    renamed = from_one({layer for layer, _ in tensors})
    separable = {layer for layer, kind in tensors if kind == "pointwise_kernel"}

    def key(layer, kind):
        return f"{renamed[layer]}/{SEPARABLE.get(kind, kind) if layer in separable else kind_today(kind)}"

    return names.assign(
        model,
        {key(*name): tensor for name, tensor in tensors.items()},
        rules,
        source,
        key=lambda layer, weight: f"{layer}/{weight}",
        layout=lambda tensor, layer, weight: _fitted(tensor, tuple(weight.shape)),
        unused=lambda name: name.startswith(UNUSED),
        **adapting,
    )


def _fitted(tensor, shape):
    """The tensor of a 1x1 convolution that is a fully connected layer on the other side, or of a depthwise convolution
    that is one with a group for each channel."""
    grouped = len(shape) == 4 and shape[3] == 1 and tensor.shape == (*shape[:2], 1, shape[2])
    dense = tensor.shape == (1, 1, *shape) or shape == (1, 1, *tensor.shape)
    return tensor.reshape(shape) if grouped or dense else tensor


def from_one(layers: Iterable[str]) -> dict[str, str]:
    """Returns the names of layers with those that their rules use: automatic numbers begin at 1."""
    renamed = {layer: layer for layer in layers}
    found = [(match[1], int(match[2] or 0), layer) for layer in renamed if (match := AUTOMATIC.fullmatch(layer))]
    first = {kind: number for kind, number, _ in sorted(found, reverse=True)}
    return renamed | {layer: f"{kind}_{number - first[kind] + 1}" for kind, number, layer in found}
