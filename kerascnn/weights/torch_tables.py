"""How torchvision and timm name the tensors of our models.

A family has a table for each naming: a function of the spec that gives rules (see kerascnn.weights.names).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from kerascnn.weights.names import Rules, block_numbers

# What both libraries call our conv and our norm.
BN = {"conv": "conv", "norm": "bn"}


def _resnet(spec: Any) -> Rules:
    # The deep stem is conv1, the last of its norms outside; ResNet-RS's convolution in place of pooling is maxpool.
    stem = {1: "conv1.0", 2: "conv1.3", 3: "conv1.6", 4: "maxpool.0"}
    stem_norm = {1: "conv1.1", 2: "conv1.4", 3: "bn1", 4: "maxpool.1"}
    shortcut = 1 if spec.avg_down else 0  # behind the pooling, which is there at stride 1 too, doing nothing
    kind = {"conv": "conv", "norm": "bn"}
    middle: Rules = []  # what stands in place of a 3x3, and the attention behind it
    if spec.scales > 1:
        middle = [
            (r"stage(\d+)_block(\d+)_part(\d)_(conv|norm)", lambda s, b, i, k: f"layer{s}.{b - 1}.{kind[k]}s.{i - 1}")
        ]
    elif spec.sk:
        place, within = 1 if spec.block == "basic" else 2, {"conv1": "fc_reduce", "norm1": "bn", "conv2": "fc_select"}
        middle = [
            (
                r"stage(\d+)_block(\d+)_path(\d)_(conv|norm)",
                lambda s, b, i, k: f"layer{s}.{b - 1}.conv{place}.paths.{i - 1}.{kind[k]}",
            ),
            (
                r"stage(\d+)_block(\d+)_attention_(\w+)",
                lambda s, b, k: f"layer{s}.{b - 1}.conv{place}.attn.{within[k]}",
            ),
            (
                r"stage(\d+)_block(\d+)_(conv|norm)(\d)",
                lambda s, b, k, n: f"layer{s}.{b - 1}.conv{n}.{kind[k]}",
            ),
        ]
    elif spec.radix:
        within = {"conv1": "fc1", "norm1": "bn1", "conv2": "fc2"}
        middle = [
            (r"stage(\d+)_block(\d+)_attention_(\w+)", lambda s, b, k: f"layer{s}.{b - 1}.conv2.{within[k]}"),
            (r"stage(\d+)_block(\d+)_conv2", lambda s, b: f"layer{s}.{b - 1}.conv2.conv"),
            (r"stage(\d+)_block(\d+)_norm2", lambda s, b: f"layer{s}.{b - 1}.conv2.bn0"),
        ]
    return [
        *middle,
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


def _nf_resnet(spec: Any) -> Rules:
    return [
        (r"stem_conv", lambda: "stem.conv"),
        (r"stage(\d+)_block(\d+)_conv(\d)", lambda s, b, n: f"stages.{s - 1}.{b - 1}.conv{n}"),
        (r"stage(\d+)_block(\d+)_shortcut_conv", lambda s, b: f"stages.{s - 1}.{b - 1}.downsample.conv"),
        (r"logits", lambda: "head.fc"),
    ]


def _timm_regnet(spec: Any) -> Rules:
    kind = {"conv": "conv", "norm": "bn"}
    return [
        (r"stem_(conv|norm)", lambda k: f"stem.{kind[k]}"),
        (r"stage(\d+)_block(\d+)_(conv|norm)(\d)", lambda s, b, k, n: f"s{s}.b{b}.conv{n}.{kind[k]}"),
        (r"stage(\d+)_block(\d+)_se_conv(\d)", lambda s, b, n: f"s{s}.b{b}.se.fc{n}"),
        (r"stage(\d+)_block(\d+)_shortcut_(conv|norm)", lambda s, b, k: f"s{s}.b{b}.downsample.{kind[k]}"),
        (r"logits", lambda: "head.fc"),
    ]


def _torchvision_regnet(spec: Any) -> Rules:
    place, part = {"conv": 0, "norm": 1}, " abc"

    def block(stage, number):
        return f"trunk_output.block{stage}.block{stage}-{number - 1}"

    return [
        (r"stem_(conv|norm)", lambda k: f"stem.{place[k]}"),
        (r"stage(\d+)_block(\d+)_(conv|norm)(\d)", lambda s, b, k, n: f"{block(s, b)}.f.{part[n]}.{place[k]}"),
        (r"stage(\d+)_block(\d+)_se_conv(\d)", lambda s, b, n: f"{block(s, b)}.f.se.fc{n}"),
        (r"stage(\d+)_block(\d+)_shortcut_(conv|norm)", lambda s, b, k: f"{block(s, b)}.proj.{place[k]}"),
        (r"logits", lambda: "fc"),
    ]


def _dpn(spec: Any) -> Rules:
    # A norm and the convolution behind it are one module, but for the last where two convolutions are.
    part = {1: "c1x1_a", 2: "c3x3_b", 3: "c1x1_c"}
    last = {3: "c1x1_c1", 4: "c1x1_c2"} if spec.split_last else {3: "c1x1_c.conv"}
    kind = {"conv": "conv", "norm": "bn"}

    def block(stage, number):
        return f"features.conv{stage + 1}_{number}"

    return [
        (r"stem_(conv|norm)", lambda k: f"features.conv1_1.{kind[k]}"),
        (r"stage(\d+)_block(\d+)_preact_norm", lambda s, b: f"{block(s, b)}.c1x1_a.bn"),
        (r"stage(\d+)_block(\d+)_norm(\d)", lambda s, b, n: f"{block(s, b)}.{part[n + 1]}.bn"),
        (r"stage(\d+)_block(\d+)_conv([12])", lambda s, b, n: f"{block(s, b)}.{part[n]}.conv"),
        (r"stage(\d+)_block(\d+)_conv([34])", lambda s, b, n: f"{block(s, b)}.{last[n]}"),
        (
            r"stage(\d+)_block(\d+)_shortcut_(conv|norm)",
            lambda s, b, k: f"{block(s, b)}.c1x1_w_s{1 if s == 1 else 2}.{kind[k]}",
        ),
        (r"head_norm", lambda: "features.conv5_bn_ac.bn"),
        (r"logits", lambda: "classifier"),
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
    blocks = block_numbers(row.stride for row in spec.rows)
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


# What timm calls the convolutions of a mobile block, in their order, by the block's kind and our number. Norms are
# numbered.
PARTS = {
    "expand": {1: "conv_pw", 2: "conv_dw", 3: "conv_pwl"},
    "plain": {2: "conv_dw", 3: "conv_pw"},
    "fused": {1: "conv_exp", 2: "conv_pwl"},
    "conv": {1: "conv"},
}


class _Place(NamedTuple):
    """Where a block stands: its number, its group and its place there, its kind, and whether it has gates."""

    number: int
    group: int
    place: int
    kind: str
    se: bool

    def part(self, n):
        """The place in the block of our n-th convolution."""
        return list(PARTS[self.kind]).index(n)


def _places(blocks: Iterable[tuple[int, Any, str, bool]]) -> dict[tuple[int, int], _Place]:
    """The places of (stride, group, kind, se), by our (stage, block)."""
    places: dict[tuple[int, int], _Place] = {}
    stage, block, count, place, last = 1, 0, -1, 0, None
    for number, (stride, group, kind, se) in enumerate(blocks):
        stage, block = (stage + 1, 1) if stride > 1 else (stage, block + 1)
        count, place, last = (count, place + 1, group) if group == last else (count + 1, 0, group)
        places[stage, block] = _Place(number, count, place, kind, se)
    return places


def _kind(row):
    expands = row.expand > 1
    if getattr(row, "kind", "") == "Fused-MBConv":
        return "fused" if expands else "conv"
    return "expand" if expands else "plain"


def _row_places(spec):
    return _places((row.stride, i, _kind(row), row.se if hasattr(row, "se") else spec.se) for i, row in spec.blocks)


def _v3_places(spec):
    before = (16, *(row.channels for row in spec.rows))
    rows = zip(spec.rows, before, strict=False)
    return _places(
        (r.stride, r.channels, "plain" if r.expanded == n else "expand", r.se and not spec.minimal) for r, n in rows
    )


def _timm_blocks(places: dict[tuple[int, int], _Place]) -> Rules:
    def at(stage, block):
        place = places[stage, block]
        return f"blocks.{place.group}.{place.place}", place

    def conv(stage, block, n):
        prefix, place = at(stage, block)
        return f"{prefix}.{PARTS[place.kind][n]}"

    def norm(stage, block, n):
        prefix, place = at(stage, block)
        return f"{prefix}.bn{place.part(n) + 1}"

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

    def part(inner):
        def rule(stage, block, n):
            place = places[stage, block]
            return f"{prefix(place)}.{place.part(n) + (place.se and n == 3)}.{inner}"

        return rule

    def gate(stage, block, n):
        place = places[stage, block]
        return f"{prefix(place)}.{place.part(2) + 1}.fc{n}"

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
    return _timm_rows(spec)


def _torchvision_mobilenet(spec: Any) -> Rules:
    places = {} if hasattr(spec, "depths") else _row_places(spec)  # torchvision has no v1

    def last(inner):  # stands in the block itself, not in a Sequential of its own
        def rule(stage, block):
            place = places[stage, block]
            return f"features.{place.number + 1}.conv.{place.part(3) + inner}"

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


def _timm_rows(spec: Any) -> Rules:
    return [(r"head_conv", lambda: "conv_head"), (r"head_norm", lambda: "bn2"), *_timm_blocks(_row_places(spec))]


def _torchvision_efficientnet(spec: Any) -> Rules:
    places = _row_places(spec)
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


def _torchvision_mnasnet(spec: Any) -> Rules:
    places = _row_places(spec)
    within = {1: 0, 2: 3, 3: 6}  # an activation stands behind the first two norms

    def rule(kind):
        def name(stage, block, n):
            place = places[stage, block]
            if place.group == 0:  # a block that does not expand stands there without a Sequential of its own
                return f"layers.{within[n] + kind}"
            return f"layers.{7 + place.group}.{place.place}.layers.{within[n] + kind}"

        return name

    last = max(place.group for place in places.values()) + 8
    return [
        (r"stem_conv", lambda: "layers.0"),
        (r"stem_norm", lambda: "layers.1"),
        (r"stage(\d+)_block(\d+)_conv(\d)", rule(0)),
        (r"stage(\d+)_block(\d+)_norm(\d)", rule(1)),
        (r"head_conv", lambda: f"layers.{last}"),
        (r"head_norm", lambda: f"layers.{last + 1}"),
        (r"logits", lambda: "classifier.1"),
    ]


def _mobilenet_v4(spec: Any) -> Rules:
    # A group for each stage; what stands ahead of a convolution alone and in a FusedIB is named as in other nets.
    parts = {"UIB": {0: "dw_start", 1: "pw_exp", 2: "dw_mid", 3: "pw_proj"}, "FusedIB": PARTS["fused"]}
    parts["Conv2D"] = PARTS["conv"]
    kind = {"conv": "conv", "norm": "bn"}
    rows = [row for _, row in spec.blocks]
    kinds = {place: rows[number].kind for place, number in block_numbers(row.stride for row in rows).items()}
    stages = max(stage for stage, _ in kinds)
    first = min(stage for stage, _ in kinds)

    def rule(stage, block, what, n):
        names = parts[kinds[stage, block]]
        prefix = f"blocks.{stage - first}.{block - 1}"
        if kinds[stage, block] == "UIB":
            return f"{prefix}.{names[n]}.{kind[what]}"
        return f"{prefix}.{names[n]}" if what == "conv" else f"{prefix}.bn{list(names).index(n) + 1}"

    return [
        (r"stem_conv", lambda: "conv_stem"),
        (r"stem_norm", lambda: "bn1"),
        (r"stage(\d+)_block(\d+)_(conv|norm)(\d)", rule),
        (r"head_conv", lambda: f"blocks.{stages - first + 1}.0.conv"),
        (r"head_norm", lambda: f"blocks.{stages - first + 1}.0.bn1"),
        (r"hidden_conv", lambda: "conv_head"),
        (r"hidden_norm", lambda: "norm_head"),
        (r"logits", lambda: "classifier"),
    ]


def _ghostnet(spec: Any) -> Rules:
    # A block with a stride is a group by itself, and those behind it are another.
    def at(stage, block):
        if stage == 1:
            return f"blocks.0.{block - 1}"
        return f"blocks.{2 * stage - 3}.0" if block == 1 else f"blocks.{2 * stage - 2}.{block - 2}"

    part = {1: "ghost1.primary_conv.", 2: "ghost1.cheap_operation.", 4: "ghost2.primary_conv.",
            5: "ghost2.cheap_operation."}  # fmt: skip
    kind, number = {"conv": "conv_dw", "norm": "bn_dw"}, {"conv": 0, "norm": 1}
    groups = 2 * (sum(row.stride > 1 for row in spec.rows) + 1) - 1

    def rule(stage, block, what, n):
        return f"{at(stage, block)}.{kind[what] if n == 3 else f'{part[n]}{number[what]}'}"

    return [
        (r"stem_conv", lambda: "conv_stem"),
        (r"stem_norm", lambda: "bn1"),
        (r"stage(\d+)_block(\d+)_(conv|norm)(\d)", rule),
        (r"stage(\d+)_block(\d+)_se_conv1", lambda s, b: f"{at(s, b)}.se.conv_reduce"),
        (r"stage(\d+)_block(\d+)_se_conv2", lambda s, b: f"{at(s, b)}.se.conv_expand"),
        (
            r"stage(\d+)_block(\d+)_shortcut_(conv|norm)(\d)",
            lambda s, b, k, n: f"{at(s, b)}.shortcut.{2 * n - 2 + number[k]}",
        ),
        (r"head_conv", lambda: f"blocks.{groups}.0.conv"),
        (r"head_norm", lambda: f"blocks.{groups}.0.bn1"),
        (r"dense1", lambda: "conv_head"),
        (r"logits", lambda: "classifier"),
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
    "inception_v3": {"torchvision": _inception_v3},
    "resnet": {"torchvision": _resnet},
    "preact_resnet": {"timm": _preact_resnet},
    "nf_resnet": {"timm": _nf_resnet},
    "senet": {"timm": _senet},
    "regnet": {"torchvision": _torchvision_regnet, "timm": _timm_regnet},
    "densenet": {"torchvision": _densenet},
    "dpn": {"timm": _dpn},
    "xception": {"timm": _xception},
    "squeezenet": {"torchvision": _squeezenet},
    "shufflenet_v2": {"torchvision": _shufflenet_v2},
    "mobilenet": {"torchvision": _torchvision_mobilenet, "timm": _timm_mobilenet},
    "mobilenet_v3": {"torchvision": _torchvision_mobilenet_v3, "timm": _timm_mobilenet_v3},
    "mobilenet_v4": {"timm": _mobilenet_v4},
    "mnasnet": {"torchvision": _torchvision_mnasnet, "timm": _timm_rows},
    "ghostnet": {"timm": _ghostnet},
    "efficientnet": {"torchvision": _torchvision_efficientnet, "timm": _timm_rows},
    "repvgg": {"timm": _repvgg},
    "convnext": {"torchvision": _torchvision_convnext, "timm": _timm_convnext},
}

# Tensors that some files have and no model uses, as the beginnings of their names: classifiers that only training has.
UNUSED: dict[str, tuple[str, ...]] = {
    "inception": ("aux1.", "aux2."),
    "inception_v3": ("AuxLogits.",),
}
