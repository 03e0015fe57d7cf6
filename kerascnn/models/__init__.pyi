# Written by `python -m tools.make_stubs`.

import dataclasses
import os
from typing import Any, Literal, TypedDict, Unpack

import keras

from kerascnn.registry import list_models as list_models

@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """The facts of a variant as it comes: `macs` for one image of `input_shape`, `stages` as names and shapes.

    `receptive_field` is how many pixels a side the last stage sees, `peak_memory` the bytes of activations for one
    image; `kerascnn.complexity` says both exactly. `weights` are the published ones, as create_model(weights=) takes
    them.
    """

    name: str
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
        name: one of `list_models()`.
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
            (averages over height, width and channels), "instance" (over height and width) or "none".

    Where a field asks for more outputs, as include_aux=True does, the model gives a list, the logits first. It keeps
    its name and its overrides as `model.variant` and `model.overrides`, and where its weights come from as
    `model.weights_source`.

    Of these, None means the variant's own, but for `weights` and `pooling`. Raises a ValueError for an unknown name or
    field, which offers the close ones, and for a value that cannot be.
    """
    ...

def model_info(name: str, *, measure: bool = False) -> ModelInfo:
    """Returns the facts of a variant as it comes. An unknown name is a ValueError that offers the close ones.

    They are read from a file, and counted on the model itself where the file lacks it, or with `measure`.
    """
    ...

def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a `.keras` file, with our layers in it, and without running code that it may hold.

    A ValueError says what is wrong with a file that cannot be loaded.
    """
    ...

class _LeNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["valid", "symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    widths: tuple[int, int, int, int]

def lenet5(**fields: Unpack[_LeNet]) -> keras.Model: ...

class _AlexNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    stages: tuple[tuple[tuple[Any, ...], ...], ...]
    hidden: tuple[int, ...]
    ceil: bool
    response_norm: Literal["before_pool", "after_pool", "none"]
    drop_inputs: bool
    fractional_pool: float | None

def alexnet(**fields: Unpack[_AlexNet]) -> keras.Model: ...
def alexnet_grouped(**fields: Unpack[_AlexNet]) -> keras.Model: ...
def zfnet(**fields: Unpack[_AlexNet]) -> keras.Model: ...

class _NiN(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    blocks: tuple[tuple[Any, ...], ...]
    fractional_pool: float | None

def nin(**fields: Unpack[_NiN]) -> keras.Model: ...
def nin_cifar(**fields: Unpack[_NiN]) -> keras.Model: ...

class _VGG(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    hidden: tuple[int, ...]
    side: int
    fractional_pool: float | None

def vgg11(**fields: Unpack[_VGG]) -> keras.Model: ...
def vgg13(**fields: Unpack[_VGG]) -> keras.Model: ...
def vgg16(**fields: Unpack[_VGG]) -> keras.Model: ...
def vgg19(**fields: Unpack[_VGG]) -> keras.Model: ...
def vgg11_bn(**fields: Unpack[_VGG]) -> keras.Model: ...
def vgg13_bn(**fields: Unpack[_VGG]) -> keras.Model: ...
def vgg16_bn(**fields: Unpack[_VGG]) -> keras.Model: ...
def vgg19_bn(**fields: Unpack[_VGG]) -> keras.Model: ...

class _GoogLeNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    modules: tuple[tuple[tuple[Any, ...], ...], ...]
    large_kernel: Literal[3, 5]
    include_aux: bool
    aux_dropout: float
    fractional_pool: float | None

def googlenet(**fields: Unpack[_GoogLeNet]) -> keras.Model: ...

class _ResNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    groups: int
    base_width: int
    stride_in_1x1: bool
    deep_stem: bool
    stem_pool: bool
    avg_down: bool
    se: bool
    se_ratio: float
    eca: bool
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    fractional_pool: float | None
    output_stride: Literal[8, 16, 32]

def resnet10(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet18(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet34(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet26(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet50(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet101(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet152(**fields: Unpack[_ResNet]) -> keras.Model: ...
def wide_resnet50_2(**fields: Unpack[_ResNet]) -> keras.Model: ...
def wide_resnet101_2(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext50_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_32x8d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_64x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet18d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet34d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet26d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet50d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet101d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet152d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet18(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet34(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet50(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet101(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet152(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext50_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext101_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext101_32x8d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnet50d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs50(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs101(**fields: Unpack[_ResNet]) -> keras.Model: ...

class _PreActResNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stride_last: bool
    avg_down: bool
    outer_bias: bool
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    deep_stem: bool
    pool_zeros: bool
    fractional_pool: float | None
    output_stride: Literal[8, 16, 32]

def resnetv2_18(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_34(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_50(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_101(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_152(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_18d(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_34d(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_50d(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_101d(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_152d(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_50d_gn(**fields: Unpack[_PreActResNet]) -> keras.Model: ...

class _CifarPreActResNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stride_last: bool
    avg_down: bool
    outer_bias: bool
    zero_init_residual: bool
    drop_path: float
    drop_block: float

def preact_resnet110_cifar(**fields: Unpack[_CifarPreActResNet]) -> keras.Model: ...
def preact_resnet164_cifar(**fields: Unpack[_CifarPreActResNet]) -> keras.Model: ...

class _SENet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    groups: int
    base_width: int
    halve_first: bool
    stride_in_1x1: bool
    shortcut_kernel: Literal[1, 3]
    reduction: int
    deep_stem: bool
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    fractional_pool: float | None

def legacy_seresnet18(**fields: Unpack[_SENet]) -> keras.Model: ...
def legacy_seresnet34(**fields: Unpack[_SENet]) -> keras.Model: ...
def legacy_seresnet50(**fields: Unpack[_SENet]) -> keras.Model: ...
def legacy_seresnet101(**fields: Unpack[_SENet]) -> keras.Model: ...
def legacy_seresnet152(**fields: Unpack[_SENet]) -> keras.Model: ...
def legacy_seresnext26_32x4d(**fields: Unpack[_SENet]) -> keras.Model: ...
def legacy_seresnext50_32x4d(**fields: Unpack[_SENet]) -> keras.Model: ...
def legacy_seresnext101_32x4d(**fields: Unpack[_SENet]) -> keras.Model: ...
def senet154(**fields: Unpack[_SENet]) -> keras.Model: ...

class _CifarResNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    depths: tuple[int, ...]
    shortcut: bool
    widths: tuple[int, ...]
    block: Literal["basic", "bottleneck"]
    groups: int
    base_width: int
    project: bool
    se: bool
    se_ratio: float
    zero_init_residual: bool
    drop_path: float
    drop_block: float

def resnet20_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def resnet32_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def resnet44_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def resnet56_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def resnet110_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def plain20_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def plain32_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def plain44_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def plain56_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def plain110_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...

class _WideResNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    depths: tuple[int, ...]
    widen: int
    widths: tuple[int, ...]
    block_dropout: float
    zero_init_residual: bool
    drop_path: float
    drop_block: float

def wrn16_8(**fields: Unpack[_WideResNet]) -> keras.Model: ...
def wrn28_10(**fields: Unpack[_WideResNet]) -> keras.Model: ...
def resnext29_8x64d_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...
def seresnet20_cifar(**fields: Unpack[_CifarResNet]) -> keras.Model: ...

class _DenseNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    depths: tuple[int, ...]
    growth: int
    bn_size: int
    compression: float
    conv_dropout: float
    fractional_pool: float | None

def densenet121(**fields: Unpack[_DenseNet]) -> keras.Model: ...
def densenet161(**fields: Unpack[_DenseNet]) -> keras.Model: ...
def densenet169(**fields: Unpack[_DenseNet]) -> keras.Model: ...
def densenet201(**fields: Unpack[_DenseNet]) -> keras.Model: ...

class _CifarDenseNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    depths: tuple[int, ...]
    growth: int
    bn_size: int
    compression: float
    conv_dropout: float

def densenet_bc100_cifar(**fields: Unpack[_CifarDenseNet]) -> keras.Model: ...

class _MobileNetV1(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    width: float
    se: bool
    se_ratio: float
    output_stride: Literal[8, 16, 32]

def mobilenet_v1(**fields: Unpack[_MobileNetV1]) -> keras.Model: ...
def mobilenet_v1_075(**fields: Unpack[_MobileNetV1]) -> keras.Model: ...
def mobilenet_v1_050(**fields: Unpack[_MobileNetV1]) -> keras.Model: ...
def mobilenet_v1_025(**fields: Unpack[_MobileNetV1]) -> keras.Model: ...
def se_mobilenet_v1(**fields: Unpack[_MobileNetV1]) -> keras.Model: ...

class _MobileNetV2(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    rows: tuple[tuple[Any, ...], ...]
    width: float
    depth: float
    fixed_ends: bool
    se: bool
    se_ratio: float
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    output_stride: Literal[8, 16, 32]

def mobilenet_v2(**fields: Unpack[_MobileNetV2]) -> keras.Model: ...
def mobilenet_v2_035(**fields: Unpack[_MobileNetV2]) -> keras.Model: ...
def mobilenet_v2_050(**fields: Unpack[_MobileNetV2]) -> keras.Model: ...
def mobilenet_v2_075(**fields: Unpack[_MobileNetV2]) -> keras.Model: ...
def mobilenet_v2_140(**fields: Unpack[_MobileNetV2]) -> keras.Model: ...
def mobilenet_v2_110d(**fields: Unpack[_MobileNetV2]) -> keras.Model: ...
def se_mobilenet_v2(**fields: Unpack[_MobileNetV2]) -> keras.Model: ...

class _MobileNetV3(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    rows: tuple[tuple[Any, ...], ...]
    hidden: int
    width: float
    minimal: bool
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    output_stride: Literal[8, 16, 32]

def mobilenet_v3_large(**fields: Unpack[_MobileNetV3]) -> keras.Model: ...
def mobilenet_v3_large_075(**fields: Unpack[_MobileNetV3]) -> keras.Model: ...
def mobilenet_v3_large_minimal(**fields: Unpack[_MobileNetV3]) -> keras.Model: ...
def mobilenet_v3_small(**fields: Unpack[_MobileNetV3]) -> keras.Model: ...
def mobilenet_v3_small_075(**fields: Unpack[_MobileNetV3]) -> keras.Model: ...
def mobilenet_v3_small_minimal(**fields: Unpack[_MobileNetV3]) -> keras.Model: ...

class _EfficientNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    width: float
    depth: float
    rows: tuple[tuple[Any, ...], ...]
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    output_stride: Literal[8, 16, 32]

def efficientnet_b0(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_b1(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_b2(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_b3(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_b4(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_b5(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_b6(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_b7(**fields: Unpack[_EfficientNet]) -> keras.Model: ...

class _Airbench(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", "catavgmax", None]
    dropout: float
    rematerialize: bool
    drop_connect: float
    activation: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "selu",
        "gelu",
        "silu",
        "softplus",
        "sigmoid",
        "tanh",
        "hard_swish",
        "maxout",
    ]
    norm: Literal["batch", "group", "layer", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    conv_bias: bool
    widths: tuple[int, ...]
    depth: int
    shortcut: bool
    patch: int
    copies: bool
    scale: float
    fractional_pool: float | None

def airbench94(**fields: Unpack[_Airbench]) -> keras.Model: ...
def airbench95(**fields: Unpack[_Airbench]) -> keras.Model: ...
def airbench96(**fields: Unpack[_Airbench]) -> keras.Model: ...
