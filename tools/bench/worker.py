"""One side of `infer` or `train`: a process that compiles a step, and runs a round of steps whenever it is told to.

Its argument is a `Side` as JSON. It writes lines of JSON: {"device": name} once it is warm, {"seconds": those of the
round} after each line that it reads, {"bytes": the most memory it held} at the end of its input, and {"error": why} in
place of any of them. It needs no more than its own framework, so that timm can run where there is no Keras.
"""

import contextlib
import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

CLASSES = 1000
LEARNING_RATE = 0.01
# Keeps the gradients of float16 above zero. The learning rate takes it back; nothing looks for infinities.
LOSS_SCALE = {"mixed_float16": 1024.0}


@dataclasses.dataclass(frozen=True)
class Side:
    """`model` is its name in `library`: "kerascnn", "keras.applications" or "timm".

    `form` is the library whose form our model takes. None as `image_size` is the model's own.
    """

    library: str
    model: str
    mode: str
    backend: str
    precision: str
    batch_size: int
    image_size: int
    steps: int
    compile: bool
    form: str | None = None

    @property
    def loss_scale(self) -> float:
        return LOSS_SCALE.get(self.precision, 1.0)


class Program(NamedTuple):
    """`step()` starts one step, `wait(what it gave)` returns when all are done. `memory()` is None where unknown."""

    step: Callable[[], Any]
    wait: Callable[[Any], Any]
    device: str
    memory: Callable[[], int | None]


def tensorflow_program(side: Side) -> Program:
    import keras
    import tensorflow as tf

    model, optimizer, cross_entropy = _keras_model(side)
    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
    images = tf.random.stateless_normal([side.batch_size, *model.input_shape[1:]], [0, 1])
    labels = tf.random.stateless_uniform([side.batch_size], [0, 2], 0, model.output_shape[-1], tf.int32)

    @tf.function(jit_compile=side.compile)
    def infer(images, labels):
        return model(images, training=False)

    @tf.function(jit_compile=side.compile)
    def train(images, labels):
        with tf.GradientTape() as tape:
            loss = cross_entropy(labels, model(images, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    def memory():
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else None

    step = functools.partial(infer if side.mode == "infer" else train, images, labels)
    return Program(step, keras.ops.convert_to_numpy, device, memory)


def jax_program(side: Side) -> Program:
    import jax

    model, optimizer, cross_entropy = _keras_model(side)
    device = jax.devices()[0]
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (side.batch_size, *model.input_shape[1:]))
    labels = jax.random.randint(keys[1], (side.batch_size,), 0, model.output_shape[-1])
    groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple([variable.value for variable in group] for group in groups)

    @jax.jit
    def infer(state, images):
        return model.stateless_call(*state[:2], images, training=False)[0]

    def loss_of(trainable, fixed, images, labels):
        logits, fixed = model.stateless_call(trainable, fixed, images, training=True)
        return cross_entropy(labels, logits), fixed

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state, images, labels):
        trainable, fixed, slots = state
        (loss, fixed), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, fixed, images, labels)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return (trainable, fixed, slots), loss

    def train_step():
        nonlocal state
        state, loss = train(state, images, labels)
        return loss

    def memory():
        return (device.memory_stats() or {}).get("peak_bytes_in_use")

    step = train_step if side.mode == "train" else functools.partial(infer, state, images)
    return Program(step, jax.block_until_ready, _device_name(device.device_kind), memory)


def torch_program(side: Side) -> Program:
    import torch

    try:
        import timm
    except RuntimeError:  # a torchvision that is built for another PyTorch: timm asks for its operators, and uses none
        declare_torchvision_operators(torch)
        import timm

    if not timm.is_model(side.model):
        raise LookupError(f"it has no {side.model}")
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    torch.backends.cudnn.benchmark = True  # as TensorFlow and XLA do: convolutions by what is fastest here
    torch.set_float32_matmul_precision("high")  # TF32, which they use too
    model = timm.create_model(side.model).train(side.mode == "train").to(device, memory_format=torch.channels_last)
    call = torch.compile(model) if side.compile else model
    images = torch.randn(side.batch_size, 3, side.image_size, side.image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (side.batch_size,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE / side.loss_scale, momentum=0.9)
    narrow = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(side.precision)

    def autocast():
        return torch.autocast(device, narrow) if narrow else contextlib.nullcontext()

    def infer():
        with torch.no_grad(), autocast():
            return call(images)

    def train():
        with autocast():
            logits = call(images)
        loss = side.loss_scale * torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def wait(result):
        if cuda:
            torch.cuda.synchronize()

    def memory():
        return torch.cuda.max_memory_allocated() if cuda else None

    name = torch.cuda.get_device_name() if cuda else "CPU"
    return Program(infer if side.mode == "infer" else train, wait, name, memory)


PROGRAMS = {"tensorflow": tensorflow_program, "jax": jax_program, "torch": torch_program}


def _keras_model(side):
    """The model, an optimizer for it, and the loss that they minimise."""
    import keras

    keras.mixed_precision.set_dtype_policy(side.precision)
    if side.library == "kerascnn":
        from kerascnn import create_model, registry
        from kerascnn.weights import form

        channels = registry.lookup(side.model).spec.input_shape[-1]
        fields = form(side.form, side.model) if side.form else {}
        model = create_model(side.model, **fields, input_shape=(side.image_size, side.image_size, channels))
    else:
        from .peers import build_keras_application

        model = build_keras_application(side.model, side.image_size)
    optimizer = keras.optimizers.SGD(LEARNING_RATE / side.loss_scale, momentum=0.9)
    optimizer.build(model.trainable_variables)

    def cross_entropy(labels, logits):
        logits = keras.ops.cast(logits, "float32")
        losses = keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return side.loss_scale * keras.ops.mean(losses)

    return model, optimizer, cross_entropy


def _device_name(kind: str) -> str:
    return "CPU" if kind.lower() == "cpu" else kind


def declare_torchvision_operators(torch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    sys.modules[__name__].__dict__["_library"] = library  # what it declares goes when it goes
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d"):
        library.define(f"{name}(Tensor x) -> Tensor")
        library.define(f"_{name}_backward(Tensor x) -> Tensor")
    library.define("qroi_align(Tensor x) -> Tensor")


def _most_memory() -> int:
    """The most memory that this process has held, in bytes."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # which on Linux remembers what the parent held too

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    side = Side(**json.loads(sys.argv[1]))
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what frameworks print must not come between

        def tell(**fields):
            print(json.dumps(fields), file=out, flush=True)

        try:
            program = PROGRAMS[side.backend](side)
            for _ in range(2):  # the first compiles
                program.wait(program.step())
            tell(device=program.device)
            for _ in sys.stdin:
                started = time.perf_counter()
                for _ in range(side.steps):
                    result = program.step()
                program.wait(result)
                tell(seconds=time.perf_counter() - started)
            memory = program.memory()
            tell(bytes=_most_memory() if memory is None else memory)
        except Exception as error:
            tell(error=f"{type(error).__name__}: {error}".splitlines()[0])
            raise


if __name__ == "__main__":
    main()
