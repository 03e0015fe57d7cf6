"""How torchvision and timm name the tensors of our models.

A family has a table for each naming: a function of the spec that gives rules (see kerascnn.weights.names).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from kerascnn.weights.names import Rules

# What both libraries call our conv and our norm.
BN = {"conv": "conv", "norm": "bn"}


def _resnet(spec: Any) -> Rules:
    # The deep stem is conv1, the last of its norms outside; ResNet-RS's convolution in place of pooling is maxpool.
    stem = {1: "conv1.0", 2: "conv1.3", 3: "conv1.6", 4: "maxpool.0"}
    stem_norm = {1: "conv1.1", 2: "conv1.4", 3: "bn1", 4: "maxpool.1"}
    shortcut = 1 if spec.avg_down else 0  # behind the pooling, which is there at stride 1 too, doing nothing
    return [
        (r"stem_conv", lambda: "conv1"),
        (r"stem_norm", lambda: "bn1"),
        (r"stem_conv(\d)", lambda n: stem[n]),
        (r"stem_norm(\d)", lambda n: stem_norm[n]),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"layer{s}.{b - 1}.conv{n}"),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"layer{s}.{b - 1}.bn{n}"),
        (r"stage(\d+)_block(\d+)_se_conv(\d)", lambda s, b, n: f"layer{s}.{b - 1}.se.fc{n}"),
        (r"stage(\d+)_block(\d+)_eca", lambda s, b: f"layer{s}.{b - 1}.se.conv"),
        (r"stage(\d+)_block(\d+)_shortcut_conv", lambda s, b: f"layer{s}.{b - 1}.downsample.{shortcut}"),
        (r"stage(\d+)_block(\d+)_shortcut_norm", lambda s, b: f"layer{s}.{b - 1}.downsample.{shortcut + 1}"),
        (r"logits", lambda: "fc"),
    ]


def _features(depths: Sequence[int], step: int) -> Rules:
    # One row of modules: a convolution is followed by `step` - 1, its norm and activation, and each stage by a pool.
    return [
        (r"stage(\d+)_conv(\d+)", lambda s, n: f"features.{step * (sum(depths[: s - 1]) + n - 1) + s - 1}"),
        (r"stage(\d+)_norm(\d+)", lambda s, n: f"features.{step * (sum(depths[: s - 1]) + n - 1) + s}"),
    ]


def _alexnet(spec: Any) -> Rules:
    return [
        *_features([len(convs) for convs in spec.stages], 2 if spec.norm == "none" else 3),
        (r"dense(\d+)", lambda n: f"classifier.{3 * n - 2}"),
        (r"logits", lambda: f"classifier.{3 * len(spec.hidden)}"),
    ]


def _vgg(spec: Any) -> Rules:
    return [
        *_features(spec.depths, 2 if spec.norm == "none" else 3),
        (r"dense(\d+)", lambda n: f"classifier.{3 * n - 3}"),
        (r"logits", lambda: f"classifier.{3 * len(spec.hidden)}"),
    ]


def _timm_vgg(spec: Any) -> Rules:
    # The fully connected layers are convolutions, the first as large as the feature map.
    return [(r"dense(\d+)", lambda n: f"pre_logits.fc{n}"), (r"logits", lambda: "head.fc"), *_vgg(spec)]


def _inception(spec: Any) -> Rules:
    # A branch of one convolution is no sequence; in the last branch the pool is the first of the sequence.
    part = {1: {1: ""}, 2: {1: ".0", 2: ".1"}, 3: {1: ".0", 2: ".1"}, 4: {1: ".1"}}
    return [
        (r"stage1_(conv|norm)1", lambda k: f"conv1.{BN[k]}"),
        (r"stage2_(conv|norm)(\d)", lambda k, n: f"conv{n + 1}.{BN[k]}"),
        (
            r"stage(\d+)_block(\d+)_branch(\d)_(conv|norm)(\d)",
            lambda s, b, i, k, n: f"inception{s}{'abcdefghij'[b - 1]}.branch{i}{part[i][n]}.{BN[k]}",
        ),
        (r"aux(\d)_(conv|norm)", lambda i, k: f"aux{i}.conv.{BN[k]}"),
        (r"aux(\d)_dense1", lambda i: f"aux{i}.fc1"),
        (r"aux(\d)_logits", lambda i: f"aux{i}.fc2"),
        (r"logits", lambda: "fc"),
    ]


def _inception_v3(spec: Any) -> Rules:
    # torchvision has Inception-v3 alone, and timm has it with the same names. The others have names of their own.
    if any(module.scale for stage in spec.stages for module in stage):
        return _inception_resnet(spec)
    if len(spec.stages[1][0].branches) > 1:
        return _inception_v4(spec)
    stem = {(1, 1): "1a_3x3", (1, 2): "2a_3x3", (1, 3): "2b_3x3", (2, 1): "3b_1x1", (2, 2): "4a_3x3"}
    shrinking = {4: ("3x3", "3x3dbl"), 5: ("3x3", "7x7x3")}
    branches = {
        3: ("1x1", "5x5", "3x3dbl", "_pool"),
        4: ("1x1", "7x7", "7x7dbl", "_pool"),
        5: ("1x1", "3x3", "3x3dbl", "_pool"),
    }

    def conv(stage, block, branch, kind, n, half):
        name = (shrinking if stage > 3 and block == 1 else branches)[stage][branch - 1]
        alone = spec.stages[stage - 1][block - 1].branches[branch - 1].count("x") == 1
        return f"Mixed_{stage + 2}{'abcdefghij'[block - 1]}.branch{name}{'' if alone else f'_{n}{half}'}.{BN[kind]}"

    return [
        (r"stage(1|2)_block1_(conv|norm)(\d)", lambda s, k, n: f"Conv2d_{stem[s, n]}.{BN[k]}"),
        (r"stage(\d)_block(\d+)_branch(\d)_(conv|norm)(\d)([ab]?)", conv),
        (r"aux1_(conv|norm)(\d)", lambda k, n: f"AuxLogits.conv{n - 1}.{BN[k]}"),
        (r"aux1_logits", lambda: "AuxLogits.fc"),
        (r"logits", lambda: "fc"),
    ]


def _step(spec, stage, block, branch, n):
    """The place of a branch's n-th convolution in a Sequential, which a branch of one step is not."""
    steps = spec.stages[stage - 1][block - 1].branches[branch - 1].split(", ")
    return f".{n - (steps[0] != 'avg')}" if len(steps) > 1 else ""


def _inception_v4(spec):
    before = [2 + sum(map(len, spec.stages[1:i])) for i in range(len(spec.stages))]

    def conv(stage, block, branch, kind, n, half):
        module = spec.stages[stage - 1][block - 1]
        place = f"features.{before[stage - 1] + block}"
        if module.branches[branch - 1].count(",") == 0 and len(module.branches) == 2:  # beside a pool alone
            return f"{place}.conv.{BN[kind]}"
        split = " + " in module.branches[branch - 1]
        step = f"_{n - 1}{half}" if split else _step(spec, stage, block, branch, n)
        return f"{place}.branch{branch - 1}{step}.{BN[kind]}"

    return [
        (r"stage1_block1_(conv|norm)(\d)", lambda k, n: f"features.{n - 1}.{BN[k]}"),
        (r"stage(\d)_block(\d+)_branch(\d)_(conv|norm)(\d)([ab]?)", conv),
        (r"logits", lambda: "last_linear"),
    ]


def _inception_resnet(spec):
    stem = {(1, 1): "1a", (1, 2): "2a", (1, 3): "2b", (2, 1): "3b", (2, 2): "4a"}
    repeats = {3: "repeat", 4: "repeat_1", 5: "repeat_2"}

    def module(stage, block):
        adding = [number for number, row in enumerate(spec.stages[stage - 1], 1) if row.scale]
        if block not in adding:
            return f"mixed_{stage + 2}{'ab'[block - 1]}"
        last = stage == len(spec.stages) and block == adding[-1]
        return "block8" if last else f"{repeats[stage]}.{block - adding[0]}"

    return [
        (r"stage(1|2)_block1_(conv|norm)(\d)", lambda s, k, n: f"conv2d_{stem[s, n]}.{BN[k]}"),
        (r"stage(\d)_block(\d+)_conv", lambda s, b: f"{module(s, b)}.conv2d"),
        (
            r"stage(\d)_block(\d+)_branch(\d)_(conv|norm)(\d)",
            lambda s, b, i, k, n: f"{module(s, b)}.branch{i - 1}{_step(spec, s, b, i, n)}.{BN[k]}",
        ),
        (r"head_(conv|norm)", lambda k: f"conv2d_7b.{BN[k]}"),
        (r"logits", lambda: "classif"),
    ]


def _densenet(spec: Any) -> Rules:
    return [
        (r"stem_(conv|norm)", lambda k: f"features.{k}0"),
        (r"stage(\d+)_block(\d+)_preact_norm", lambda s, b: f"features.denseblock{s}.denselayer{b}.norm1"),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"features.denseblock{s}.denselayer{b}.conv{n}"),
        (r"stage(\d+)_block(\d+)_norm1", lambda s, b: f"features.denseblock{s}.denselayer{b}.norm2"),
        (r"stage(\d+)_transition_(conv|norm)", lambda s, k: f"features.transition{s - 1}.{k}"),
        (r"stage(\d+)_norm", lambda s: f"features.norm{s + 1}"),
        (r"logits", lambda: "classifier"),
    ]


def _preact_resnet(spec: Any) -> Rules:
    return [
        (r"stem_(conv|norm)(\d?)", lambda k, n: f"stem.{k}{n}"),
        (r"stage(\d+)_block(\d+)_preact_norm", lambda s, b: f"stages.{s - 1}.blocks.{b - 1}.norm1"),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"stages.{s - 1}.blocks.{b - 1}.conv{n}"),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"stages.{s - 1}.blocks.{b - 1}.norm{n + 1}"),
        (r"stage(\d+)_block(\d+)_shortcut_conv", lambda s, b: f"stages.{s - 1}.blocks.{b - 1}.downsample.conv"),
        (r"head_norm", lambda: "norm"),
        (r"logits", lambda: "head.fc"),
    ]


def _senet(spec: Any) -> Rules:
    shortcut = {"conv": 0, "norm": 1}
    return [
        (r"stem_(conv|norm)(\d)", lambda k, n: f"layer0.{BN[k]}{n}"),
        (r"stage(\d+)_block(\d+)_(conv|norm)(\d)", lambda s, b, k, n: f"layer{s}.{b - 1}.{BN[k]}{n}"),
        (r"stage(\d+)_block(\d+)_se_conv(\d)", lambda s, b, n: f"layer{s}.{b - 1}.se_module.fc{n}"),
        (
            r"stage(\d+)_block(\d+)_shortcut_(conv|norm)",
            lambda s, b, k: f"layer{s}.{b - 1}.downsample.{shortcut[k]}",
        ),
        (r"logits", lambda: "last_linear"),
    ]


def _xception(spec: Any) -> Rules:
    blocks = _blocks(row.stride for row in spec.rows)
    if spec.form != "plain":
        return _aligned_xception(spec, blocks)

    def block(stage, block):
        return blocks[stage, block] + 1

    def conv(stage, number, n):
        k = block(stage, number)
        if k == len(blocks):  # the last is no block there
            return f"conv{(n + 1) // 2 + 2}." + ("conv1" if n % 2 else "pointwise")
        return f"block{k}.rep.{place(k, n)}." + ("conv1" if n % 2 else "pointwise")

    def norm(stage, number, n):
        k = block(stage, number)
        return f"bn{n // 2 + 2}" if k == len(blocks) else f"block{k}.rep.{place(k, n) + 1}"

    def place(k, n):  # of activation, convolution and norm in turn, but that the first block begins without the first
        return 3 * ((n + 1) // 2) - (3 if k == 1 else 2)

    return [
        (r"stem_conv(\d)", lambda n: f"conv{n}"),
        (r"stem_norm(\d)", lambda n: f"bn{n}"),
        (r"stage(\d+)_block(\d+)_conv(\d)", conv),
        (r"stage(\d+)_block(\d+)_norm(\d)", norm),
        (r"stage(\d+)_block(\d+)_shortcut_conv", lambda s, b: f"block{block(s, b)}.skip"),
        (r"stage(\d+)_block(\d+)_shortcut_norm", lambda s, b: f"block{block(s, b)}.skipbn"),
        (r"logits", lambda: "fc"),
    ]


def _aligned_xception(spec, blocks):
    preact = spec.form == "preact"

    def part(kind):
        def rule(stage, block, n):
            half = "dw" if n % 2 else "pw"
            return f"blocks.{blocks[stage, block]}.stack.conv{(n + 1) // 2}.{kind}_{half}"

        return rule

    def ahead(stage, block, n):  # the norm of a preact net counts with what is behind it
        return f"blocks.{blocks[stage, block]}.stack.conv{n // 2 + 1}.norm"

    tail = {"conv": "", "norm": None} if preact else {"conv": ".conv", "norm": ".bn"}
    return [
        (r"stem_conv2", lambda: f"stem.1{tail['conv']}"),
        (r"stem_(conv|norm)(\d)", lambda k, n: f"stem.{n - 1}.{BN[k]}"),
        (r"stage(\d+)_block(\d+)_preact_norm", lambda s, b: f"blocks.{blocks[s, b]}.norm"),
        (r"stage(\d+)_block(\d+)_conv(\d)", part("conv")),
        (r"stage(\d+)_block(\d+)_norm(\d)", ahead if preact else part("bn")),
        (r"stage(\d+)_block(\d+)_shortcut_(conv|norm)", lambda s, b, k: f"blocks.{blocks[s, b]}.shortcut{tail[k]}"),
        (r"logits", lambda: "head.fc"),
    ]


def _squeezenet(spec: Any) -> Rules:
    before = [0, 0, *(1 + sum(map(len, spec.squeezes[:i])) + i for i in range(len(spec.squeezes)))]
    parts = {"1": "squeeze", "2a": "expand1x1", "2b": "expand3x3"}
    return [
        (r"stage1_conv1", lambda: "features.0"),
        (
            r"stage(\d+)_block(\d+)_conv(?:(1)|(2[ab]))",
            lambda s, b, one, two: f"features.{before[s] + b + 1}.{parts[two or str(one)]}",
        ),
        (r"logits", lambda: "classifier.1"),
    ]


def _shufflenet_v2(spec: Any) -> Rules:
    # In a Sequential with norms and activations; the depthwise convolutions have no activation behind them.
    places = {("1", "conv"): (0, 2), ("1", "norm"): (1, 3), ("2", "conv"): (0, 3, 5), ("2", "norm"): (1, 4, 6)}
    ends = {"conv": 0, "norm": 1}
    return [
        (r"stem_(conv|norm)", lambda k: f"conv1.{ends[k]}"),
        (
            r"stage(\d+)_block(\d+)_branch(\d)_(conv|norm)(\d)",
            lambda s, b, i, k, n: f"stage{s}.{b - 1}.branch{i}.{places[str(i), k][n - 1]}",
        ),
        (r"head_(conv|norm)", lambda k: f"conv5.{ends[k]}"),
        (r"logits", lambda: "fc"),
    ]


def _blocks(strides):
    """The number of a block, from 0 on, by our (stage, block), where a stride ends the stem's stage."""
    stage, block, numbers = 1, 0, {}
    for number, stride in enumerate(strides):
        stage, block = (stage + 1, 1) if stride > 1 else (stage, block + 1)
        numbers[stage, block] = number
    return numbers


class _Place(NamedTuple):
    """Where a block stands: its number, its group and its place there, and which parts it has that others lack."""

    number: int
    group: int
    place: int
    expand: bool
    se: bool


def _places(blocks: Iterable[tuple[int, Any, bool, bool]]) -> dict[tuple[int, int], _Place]:
    """The places of (stride, group, expand, se), by our (stage, block)."""
    places: dict[tuple[int, int], _Place] = {}
    stage, block, count, place, last = 1, 0, -1, 0, None
    for number, (stride, group, expand, se) in enumerate(blocks):
        stage, block = (stage + 1, 1) if stride > 1 else (stage, block + 1)
        count, place, last = (count, place + 1, group) if group == last else (count + 1, 0, group)
        places[stage, block] = _Place(number, count, place, expand, se)
    return places


def _v2_places(spec):
    return _places((stride, row, expand > 1, spec.se) for row, expand, _, stride in spec.blocks)


def _v3_places(spec):
    before = (16, *(row.channels for row in spec.rows))
    rows = zip(spec.rows, before, strict=False)
    return _places((r.stride, r.channels, r.expanded != n, r.se and not spec.minimal) for r, n in rows)


def _efficientnet_places(spec):
    return _places((stride, row, expand > 1, True) for row, expand, *_, stride in spec.blocks)


def _timm_blocks(places: dict[tuple[int, int], _Place]) -> Rules:
    def at(stage, block):
        place = places[stage, block]
        return f"blocks.{place.group}.{place.place}", place

    def conv(stage, block, n):
        prefix, place = at(stage, block)
        return f"{prefix}.conv_" + ({1: "pw", 2: "dw", 3: "pwl"} if place.expand else {2: "dw", 3: "pw"})[n]

    def norm(stage, block, n):
        prefix, place = at(stage, block)
        return f"{prefix}.bn{n if place.expand else n - 1}"

    return [
        (r"stem_conv", lambda: "conv_stem"),
        (r"stem_norm", lambda: "bn1"),
        (r"stage(\d+)_block(\d+)_conv(\d)", conv),
        (r"stage(\d+)_block(\d+)_norm(\d)", norm),
        (r"stage(\d+)_block(\d+)_se_conv1", lambda s, b: f"{at(s, b)[0]}.se.conv_reduce"),
        (r"stage(\d+)_block(\d+)_se_conv2", lambda s, b: f"{at(s, b)[0]}.se.conv_expand"),
        (r"logits", lambda: "classifier"),
    ]


def _torchvision_blocks(places: dict[tuple[int, int], _Place], prefix: Callable[[_Place], str]) -> Rules:
    """Each convolution of a block is a Sequential with its norm; they and the gate are numbered one after the other."""

    def number(place, n):
        return {1: 0, 2: place.expand, 3: place.expand + 1 + place.se}[n]

    def part(inner):
        def rule(stage, block, n):
            place = places[stage, block]
            return f"{prefix(place)}.{number(place, n):d}.{inner}"

        return rule

    def gate(stage, block, n):
        place = places[stage, block]
        return f"{prefix(place)}.{place.expand + 1}.fc{n}"

    return [
        (r"stem_conv", lambda: "features.0.0"),
        (r"stem_norm", lambda: "features.0.1"),
        (r"stage(\d+)_block(\d+)_conv(\d)", part(0)),
        (r"stage(\d+)_block(\d+)_norm(\d)", part(1)),
        (r"stage(\d+)_block(\d+)_se_conv(\d)", gate),
    ]


def _timm_mobilenet(spec: Any) -> Rules:
    if hasattr(spec, "depths"):  # v1
        return [
            (r"stage(\d+)_block(\d+)_conv1", lambda s, b: f"blocks.{s - 1}.{b - 1}.conv_dw"),
            (r"stage(\d+)_block(\d+)_conv2", lambda s, b: f"blocks.{s - 1}.{b - 1}.conv_pw"),
            (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"blocks.{s - 1}.{b - 1}.bn{n}"),
            *_timm_blocks({}),
        ]
    return [(r"head_conv", lambda: "conv_head"), (r"head_norm", lambda: "bn2"), *_timm_blocks(_v2_places(spec))]


def _torchvision_mobilenet(spec: Any) -> Rules:
    places = {} if hasattr(spec, "depths") else _v2_places(spec)  # torchvision has no v1

    def last(inner):  # stands in the block itself, not in a Sequential of its own
        def rule(stage, block):
            place = places[stage, block]
            return f"features.{place.number + 1}.conv.{place.expand + 1 + inner}"

        return rule

    return [
        (r"stage(\d+)_block(\d+)_conv3", last(0)),
        (r"stage(\d+)_block(\d+)_norm3", last(1)),
        *_torchvision_blocks(places, lambda place: f"features.{place.number + 1}.conv"),
        (r"head_conv", lambda: f"features.{len(places) + 1}.0"),
        (r"head_norm", lambda: f"features.{len(places) + 1}.1"),
        (r"logits", lambda: "classifier.1"),
    ]


def _timm_mobilenet_v3(spec: Any) -> Rules:
    places = _v3_places(spec)
    groups = max(place.group for place in places.values()) + 1
    return [
        (r"head_conv", lambda: f"blocks.{groups}.0.conv"),
        (r"head_norm", lambda: f"blocks.{groups}.0.bn1"),
        (r"dense1", lambda: "conv_head"),
        *_timm_blocks(places),
    ]


def _torchvision_mobilenet_v3(spec: Any) -> Rules:
    places = _v3_places(spec)
    return [
        *_torchvision_blocks(places, lambda place: f"features.{place.number + 1}.block"),
        (r"head_conv", lambda: f"features.{len(places) + 1}.0"),
        (r"head_norm", lambda: f"features.{len(places) + 1}.1"),
        (r"dense1", lambda: "classifier.0"),
        (r"logits", lambda: "classifier.3"),
    ]


def _timm_efficientnet(spec: Any) -> Rules:
    places = _efficientnet_places(spec)
    return [(r"head_conv", lambda: "conv_head"), (r"head_norm", lambda: "bn2"), *_timm_blocks(places)]


def _torchvision_efficientnet(spec: Any) -> Rules:
    places = _efficientnet_places(spec)
    last = max(place.group for place in places.values()) + 2
    return [
        *_torchvision_blocks(places, lambda place: f"features.{place.group + 1}.{place.place}.block"),
        (r"head_conv", lambda: f"features.{last}.0"),
        (r"head_norm", lambda: f"features.{last}.1"),
        (r"logits", lambda: "classifier.1"),
    ]


# By family, the namings; where two libraries agree, the first stands for both.
TABLES: dict[str, dict[str, Callable[[Any], Rules]]] = {
    "alexnet": {"torchvision": _alexnet},
    "vgg": {"torchvision": _vgg, "timm": _timm_vgg},
    "inception": {"torchvision": _inception},
    "inception_v3": {"torchvision": _inception_v3},
    "resnet": {"torchvision": _resnet},
    "preact_resnet": {"timm": _preact_resnet},
    "senet": {"timm": _senet},
    "densenet": {"torchvision": _densenet},
    "xception": {"timm": _xception},
    "squeezenet": {"torchvision": _squeezenet},
    "shufflenet_v2": {"torchvision": _shufflenet_v2},
    "mobilenet": {"torchvision": _torchvision_mobilenet, "timm": _timm_mobilenet},
    "mobilenet_v3": {"torchvision": _torchvision_mobilenet_v3, "timm": _timm_mobilenet_v3},
    "efficientnet": {"torchvision": _torchvision_efficientnet, "timm": _timm_efficientnet},
}

# Tensors that some files have and no model uses, as the beginnings of their names: classifiers that only training has.
UNUSED: dict[str, tuple[str, ...]] = {
    "inception": ("aux1.", "aux2."),
    "inception_v3": ("AuxLogits.",),
}
