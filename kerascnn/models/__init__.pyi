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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["valid", "symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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

class _SqueezeNet(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    filters: int
    kernel: int
    squeezes: tuple[tuple[int, ...], ...]
    expand: int
    fractional_pool: float | None

def squeezenet1_0(**fields: Unpack[_SqueezeNet]) -> keras.Model: ...
def squeezenet1_1(**fields: Unpack[_SqueezeNet]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    modules: tuple[tuple[tuple[Any, ...], ...], ...]
    large_kernel: Literal[3, 5]
    include_aux: bool
    aux_dropout: float
    fractional_pool: float | None

def googlenet(**fields: Unpack[_GoogLeNet]) -> keras.Model: ...

class _Inception(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    stages: tuple[tuple[tuple[Any, ...], ...], ...]
    head: int
    pool_zeros: bool
    include_aux: bool
    zero_init_residual: bool
    drop_path: float

def inception_v3(**fields: Unpack[_Inception]) -> keras.Model: ...
def inception_v4(**fields: Unpack[_Inception]) -> keras.Model: ...
def inception_resnet_v2(**fields: Unpack[_Inception]) -> keras.Model: ...

class _Xception(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    form: Literal["plain", "aligned", "preact"]
    entry: tuple[tuple[Any, ...], ...]
    middle: int
    exit: tuple[tuple[Any, ...], ...]
    zero_init_residual: bool
    drop_path: float
    output_stride: Literal[8, 16, 32]

def xception(**fields: Unpack[_Xception]) -> keras.Model: ...
def xception41(**fields: Unpack[_Xception]) -> keras.Model: ...
def xception65(**fields: Unpack[_Xception]) -> keras.Model: ...
def xception71(**fields: Unpack[_Xception]) -> keras.Model: ...
def xception41p(**fields: Unpack[_Xception]) -> keras.Model: ...
def xception65p(**fields: Unpack[_Xception]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    groups: int
    base_width: int
    stride_in_1x1: bool
    deep_stem: bool
    stem_widths: tuple[int, int, int]
    stem_pool: bool
    avg_down: bool
    se: bool
    se_ratio: float
    eca: bool
    scales: int
    sk: bool
    sk_ratio: float
    sk_least: int
    sk_split: bool
    radix: int
    pool_first: bool
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
def resnet200(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet50_gn(**fields: Unpack[_ResNet]) -> keras.Model: ...
def wide_resnet50_2(**fields: Unpack[_ResNet]) -> keras.Model: ...
def wide_resnet101_2(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext50_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_32x8d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_32x16d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_32x32d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext101_64x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnext50d_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet50c(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet101c(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet152c(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet18d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet34d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet26d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet50d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet101d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet152d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet200d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet50s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet101s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet152s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet10t(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet14t(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet26t(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnet50t(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet18(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet34(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet50(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet101(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet152(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet152d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet200d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet269d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnet50t(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext50_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext101_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext101_32x8d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext101_64x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext101d_32x8d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext26d_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def seresnext26t_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnetlight(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnet50d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnet101d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnet200d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnet269d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnet26t(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnet50t(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnext26t_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def ecaresnext50t_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs50(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs101(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs152(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs200(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs270(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs350(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnetrs420(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net50_26w_4s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net50_26w_6s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net50_26w_8s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net50_48w_2s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net50_14w_8s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net101_26w_4s(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2next50(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net50d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def res2net101d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def skresnet18(**fields: Unpack[_ResNet]) -> keras.Model: ...
def skresnet34(**fields: Unpack[_ResNet]) -> keras.Model: ...
def skresnet50(**fields: Unpack[_ResNet]) -> keras.Model: ...
def skresnet50d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def skresnext50_32x4d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest14d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest26d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest50d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest101e(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest200e(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest269e(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest50d_1s4x24d(**fields: Unpack[_ResNet]) -> keras.Model: ...
def resnest50d_4s2x40d(**fields: Unpack[_ResNet]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stride_last: bool
    avg_down: bool
    outer_bias: bool
    standardize: Literal["unit", None]
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
def resnetv2_50x1_bit(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_50x3_bit(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_101x1_bit(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_101x3_bit(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_152x2_bit(**fields: Unpack[_PreActResNet]) -> keras.Model: ...
def resnetv2_152x4_bit(**fields: Unpack[_PreActResNet]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stride_last: bool
    avg_down: bool
    outer_bias: bool
    standardize: Literal["unit", None]
    zero_init_residual: bool
    drop_path: float
    drop_block: float

def preact_resnet110_cifar(**fields: Unpack[_CifarPreActResNet]) -> keras.Model: ...
def preact_resnet164_cifar(**fields: Unpack[_CifarPreActResNet]) -> keras.Model: ...

class _NFResNet(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    alpha: float
    standardize: Literal["scaled", "unit", None]
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    fractional_pool: float | None
    output_stride: Literal[8, 16, 32]

def nf_resnet26(**fields: Unpack[_NFResNet]) -> keras.Model: ...
def nf_resnet50(**fields: Unpack[_NFResNet]) -> keras.Model: ...
def nf_resnet101(**fields: Unpack[_NFResNet]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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

class _RegNet(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    initial_width: int
    slope: float
    ratio: float
    group_width: int
    depth: int
    se_ratio: float
    stem: int
    widen: bool
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    output_stride: Literal[8, 16, 32]

def regnet_x_200mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_400mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnetx_004(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_600mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_800mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_1_6gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_3_2gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_4_0gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_6_4gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_8gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_12gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_16gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_x_32gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_200mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_400mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_600mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_800mf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnety_008(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_1_6gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_3_2gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_4_0gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_6_4gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_8gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnety_080(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_12gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_16gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_32gf(**fields: Unpack[_RegNet]) -> keras.Model: ...
def regnet_y_128gf(**fields: Unpack[_RegNet]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    depths: tuple[int, ...]
    growth: int
    bn_size: int
    compression: float
    conv_dropout: float

def densenet_bc100_cifar(**fields: Unpack[_CifarDenseNet]) -> keras.Model: ...

class _DPN(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    stem: int
    bottleneck: int
    groups: int
    depths: tuple[int, ...]
    growth: tuple[int, ...]
    widths: tuple[int, ...]
    stem_kernel: Literal[3, 7]
    split_last: bool
    drop_path: float
    fractional_pool: float | None
    output_stride: Literal[8, 16, 32]
    outer_activation: Literal["silu", None]

def dpn48b(**fields: Unpack[_DPN]) -> keras.Model: ...
def dpn68(**fields: Unpack[_DPN]) -> keras.Model: ...
def dpn68b(**fields: Unpack[_DPN]) -> keras.Model: ...
def dpn92(**fields: Unpack[_DPN]) -> keras.Model: ...
def dpn98(**fields: Unpack[_DPN]) -> keras.Model: ...
def dpn131(**fields: Unpack[_DPN]) -> keras.Model: ...
def dpn107(**fields: Unpack[_DPN]) -> keras.Model: ...

class _RepVGG(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    groups: int
    output_stride: Literal[8, 16, 32]

def repvgg_a0(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_a1(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_a2(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_b0(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_b1(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_b1g4(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_b2(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_b2g4(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_b3(**fields: Unpack[_RepVGG]) -> keras.Model: ...
def repvgg_b3g4(**fields: Unpack[_RepVGG]) -> keras.Model: ...

class _NASNet(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    stem: int
    width: int
    depths: tuple[int, int, int]
    skip_reduction: bool
    pool_zeros: bool
    include_aux: bool
    drop_path: float

def nasnet_mobile(**fields: Unpack[_NASNet]) -> keras.Model: ...
def nasnet_large(**fields: Unpack[_NASNet]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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

class _MobileNetV4(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    rows: tuple[tuple[Any, ...], ...]
    stem: int
    width: float
    hidden: int
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    output_stride: Literal[8, 16, 32]

def mobilenet_v4_conv_small_035(**fields: Unpack[_MobileNetV4]) -> keras.Model: ...
def mobilenet_v4_conv_small_050(**fields: Unpack[_MobileNetV4]) -> keras.Model: ...
def mobilenet_v4_conv_small(**fields: Unpack[_MobileNetV4]) -> keras.Model: ...
def mobilenet_v4_conv_medium(**fields: Unpack[_MobileNetV4]) -> keras.Model: ...
def mobilenet_v4_conv_large(**fields: Unpack[_MobileNetV4]) -> keras.Model: ...

class _MNASNet(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    rows: tuple[tuple[Any, ...], ...]
    width: float
    stem: int
    se_ratio: float
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    output_stride: Literal[8, 16, 32]

def mnasnet0_5(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def mnasnet0_75(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def mnasnet1_0(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def mnasnet1_3(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def mnasnet1_4(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def mnasnet_small(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def semnasnet_050(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def semnasnet_075(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def semnasnet_100(**fields: Unpack[_MNASNet]) -> keras.Model: ...
def semnasnet_140(**fields: Unpack[_MNASNet]) -> keras.Model: ...

class _ShuffleNetV2(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    head: int
    fractional_pool: float | None
    output_stride: Literal[8, 16, 32]

def shufflenet_v2_x0_5(**fields: Unpack[_ShuffleNetV2]) -> keras.Model: ...
def shufflenet_v2_x1_0(**fields: Unpack[_ShuffleNetV2]) -> keras.Model: ...
def shufflenet_v2_x1_5(**fields: Unpack[_ShuffleNetV2]) -> keras.Model: ...
def shufflenet_v2_x2_0(**fields: Unpack[_ShuffleNetV2]) -> keras.Model: ...

class _GhostNet(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    width: float
    rows: tuple[tuple[Any, ...], ...]
    hidden: int
    se_ratio: float
    zero_init_residual: bool
    drop_path: float
    drop_block: float
    output_stride: Literal[8, 16, 32]

def ghostnet_050(**fields: Unpack[_GhostNet]) -> keras.Model: ...
def ghostnet_100(**fields: Unpack[_GhostNet]) -> keras.Model: ...
def ghostnet_130(**fields: Unpack[_GhostNet]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    width: float
    depth: float
    rows: tuple[tuple[Any, ...], ...]
    stem: int
    fixed_ends: bool
    round_limit: float
    se: bool
    se_ratio: float
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
def efficientnet_lite0(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_lite1(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_lite2(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_lite3(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_lite4(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_b0(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_b1(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_b2(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_b3(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_s(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_m(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_l(**fields: Unpack[_EfficientNet]) -> keras.Model: ...
def efficientnet_v2_xl(**fields: Unpack[_EfficientNet]) -> keras.Model: ...

class _ConvNeXt(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem: Literal["patch", "overlap", "tiered"]
    kernel: int
    expand: tuple[int, ...]
    grn: bool
    layer_scale: float | None
    drop_path: float
    output_stride: Literal[8, 16, 32]

def convnext_atto(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_atto_ols(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_femto(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_femto_ols(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_pico(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_pico_ols(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_nano(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_nano_ols(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_tiny(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_small(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_base(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_large(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_xlarge(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnext_xxlarge(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_atto(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_femto(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_pico(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_nano(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_tiny(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_small(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_base(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_large(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...
def convnextv2_huge(**fields: Unpack[_ConvNeXt]) -> keras.Model: ...

class _InceptionNeXt(TypedDict, total=False):
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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
    conv_bias: bool
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem: Literal["patch", "overlap", "tiered"]
    kernel: int
    expand: tuple[int, ...]
    grn: bool
    layer_scale: float | None
    drop_path: float
    output_stride: Literal[8, 16, 32]
    band: int
    share: float
    head_expand: int

def inception_next_atto(**fields: Unpack[_InceptionNeXt]) -> keras.Model: ...
def inception_next_tiny(**fields: Unpack[_InceptionNeXt]) -> keras.Model: ...
def inception_next_small(**fields: Unpack[_InceptionNeXt]) -> keras.Model: ...
def inception_next_base(**fields: Unpack[_InceptionNeXt]) -> keras.Model: ...

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
    norm: Literal["batch", "group", "layer", "channel", "instance", "none"]
    initializer: Literal[
        "he_normal",
        "he_normal_fan_out",
        "glorot_uniform",
        "glorot_normal",
        "lecun_normal",
        "small_normal",
        "large_normal",
        "transformer_normal",
        "zeros",
    ]
    padding: Literal["symmetric", "same"]
    bn_momentum: float
    bn_epsilon: float
    bn_scale: bool
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
