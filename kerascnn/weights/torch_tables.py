"""How torchvision and timm name the tensors of our models.

A family has a table for each naming: a function of the spec that gives rules (see kerascnn.weights.names).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from kerascnn.weights.names import Rules


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
    kind = {"conv": "conv", "norm": "bn"}
    return [
        (r"stage1_(conv|norm)1", lambda k: f"conv1.{kind[k]}"),
        (r"stage2_(conv|norm)(\d)", lambda k, n: f"conv{n + 1}.{kind[k]}"),
        (
            r"stage(\d+)_block(\d+)_branch(\d)_(conv|norm)(\d)",
            lambda s, b, i, k, n: f"inception{s}{'abcdefghij'[b - 1]}.branch{i}{part[i][n]}.{kind[k]}",
        ),
        (r"aux(\d)_(conv|norm)", lambda i, k: f"aux{i}.conv.{kind[k]}"),
        (r"aux(\d)_dense1", lambda i: f"aux{i}.fc1"),
        (r"aux(\d)_logits", lambda i: f"aux{i}.fc2"),
        (r"logits", lambda: "fc"),
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
    kind = {"conv": "conv", "norm": "bn"}
    shortcut = {"conv": 0, "norm": 1}
    return [
        (r"stem_(conv|norm)(\d)", lambda k, n: f"layer0.{kind[k]}{n}"),
        (r"stage(\d+)_block(\d+)_(conv|norm)(\d)", lambda s, b, k, n: f"layer{s}.{b - 1}.{kind[k]}{n}"),
        (r"stage(\d+)_block(\d+)_se_conv(\d)", lambda s, b, n: f"layer{s}.{b - 1}.se_module.fc{n}"),
        (
            r"stage(\d+)_block(\d+)_shortcut_(conv|norm)",
            lambda s, b, k: f"layer{s}.{b - 1}.downsample.{shortcut[k]}",
        ),
        (r"logits", lambda: "last_linear"),
    ]


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


def _torchvision_convnext(spec: Any) -> Rules:
    # Stages and what shrinks the map ahead of them stand in turn.
    part = {"conv1": 0, "norm1": 2, "conv2": 3, "conv3": 5}
    shrink = {"norm": 0, "conv": 1}
    return [
        (r"stem_conv", lambda: "features.0.0"),
        (r"stem_norm", lambda: "features.0.1"),
        (r"stage(\d+)_downsample_(conv|norm)", lambda s, k: f"features.{2 * s - 2}.{shrink[k]}"),
        (r"stage(\d+)_block(\d+)_(conv\d|norm1)", lambda s, b, k: f"features.{2 * s - 1}.{b - 1}.block.{part[k]}"),
        (r"stage(\d+)_block(\d+)_scale", lambda s, b: f"features.{2 * s - 1}.{b - 1}.layer_scale"),
        (r"head_norm", lambda: "classifier.0"),
        (r"logits", lambda: "classifier.2"),
    ]


def _timm_convnext(spec: Any) -> Rules:
    inception = hasattr(spec, "band")
    part = {"conv1": "conv_dw", "norm1": "norm", "conv2": "mlp.fc1", "conv3": "mlp.fc2", "grn": "mlp.grn"}
    part |= {"scale": "gamma"} | {
        f"branch{i}_conv": f"token_mixer.dwconv_{k}" for i, k in ((1, "hw"), (2, "w"), (3, "h"))
    }
    shrink = {"norm": 0, "conv": 1}
    return [
        (r"stem_conv(\d?)", lambda n: f"stem.{n - 1 if n else 0}"),
        (r"stem_norm(\d?)", lambda n: f"stem.{n or 1}"),
        (r"stage(\d+)_downsample_(conv|norm)", lambda s, k: f"stages.{s - 1}.downsample.{shrink[k]}"),
        (r"stage(\d+)_block(\d+)_(\w+)", lambda s, b, k: f"stages.{s - 1}.blocks.{b - 1}.{part[k]}"),
        (r"dense1", lambda: "head.fc1"),
        (r"head_norm", lambda: "head.norm"),
        (r"logits", lambda: "head.fc2" if inception else "head.fc"),
    ]


def _repvgg(spec: Any) -> Rules:
    part = {(1, "conv"): "conv_kxk.conv", (1, "norm"): "conv_kxk.bn", (2, "conv"): "conv_1x1.conv"}
    part |= {(2, "norm"): "conv_1x1.bn", (3, "norm"): "identity"}
    return [
        (r"stem_branch(\d)_(conv|norm)", lambda n, k: f"stem.{part[n, k]}"),
        (
            r"stage(\d+)_block(\d+)_branch(\d)_(conv|norm)",
            lambda s, b, n, k: f"stages.{s - 1}.{b - 1}.{part[n, k]}",
        ),
        (r"logits", lambda: "head.fc"),
    ]


# By family, the namings; where two libraries agree, the first stands for both.
TABLES: dict[str, dict[str, Callable[[Any], Rules]]] = {
    "alexnet": {"torchvision": _alexnet},
    "vgg": {"torchvision": _vgg, "timm": _timm_vgg},
    "inception": {"torchvision": _inception},
    "resnet": {"torchvision": _resnet},
    "preact_resnet": {"timm": _preact_resnet},
    "senet": {"timm": _senet},
    "densenet": {"torchvision": _densenet},
    "mobilenet": {"torchvision": _torchvision_mobilenet, "timm": _timm_mobilenet},
    "mobilenet_v3": {"torchvision": _torchvision_mobilenet_v3, "timm": _timm_mobilenet_v3},
    "efficientnet": {"torchvision": _torchvision_efficientnet, "timm": _timm_efficientnet},
    "repvgg": {"timm": _repvgg},
    "convnext": {"torchvision": _torchvision_convnext, "timm": _timm_convnext},
}

# Tensors that some files have and no model uses, as the beginnings of their names: classifiers that only training has.
UNUSED: dict[str, tuple[str, ...]] = {
    "inception": ("aux1.", "aux2."),
}
