# Written by `python -m tools.make_stubs`.

import dataclasses
import os
from typing import Literal, TypedDict, Unpack

import keras

from kerascnn.registry import list_models as list_models

@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """The facts of a variant as it comes: `macs` for one image of `input_shape`, `stages` as names and shapes."""

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
        num_classes: 0 gives the pooled features in place of logits.
        input_shape: (height, width, channels); height and width may be None where the model has no fully connected
            layer but its last.
        weights: the path of a `.weights.h5` or `.keras` file; without it the weights are random.
        pooling: "avg", "max", or None, which with num_classes=0 gives the feature map.
        dropout: the rate ahead of the classifier.
        drop_path: the rate of stochastic depth at the last block (https://arxiv.org/abs/1603.09382).
        **overrides: other fields of the family's spec, such as norm="group"; `help(kerascnn.models.NAME)` lists them.

    Of these, None means the variant's own, but for `weights` and `pooling`. Raises a ValueError for an unknown name or
    field, which offers the close ones, and for a value that cannot be.
    """
    ...

def model_info(name: str) -> ModelInfo:
    """Builds a model as it comes, and returns its facts. An unknown name is a ValueError that offers the close ones."""
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
    activation: Literal[
        "relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "hard_swish"
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
    widths: tuple[int, int, int, int]

def lenet5(**fields: Unpack[_LeNet]) -> keras.Model: ...

class _CifarResNet(TypedDict, total=False):
    weights: str | os.PathLike[str] | None
    num_classes: int
    input_shape: tuple[int | None, int | None, int]
    pooling: Literal["avg", "max", None]
    dropout: float
    activation: Literal[
        "relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "hard_swish"
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
    depths: tuple[int, ...]
    shortcut: bool
    widths: tuple[int, ...]
    zero_init_residual: bool
    drop_path: float

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
