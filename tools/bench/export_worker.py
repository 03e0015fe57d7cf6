"""One side of `export`: a process that loads a model, and calls it for half a second whenever it is told to.

Its argument is a `Side` as JSON. It writes lines of JSON: {} once it is warm, {"milliseconds": those of a call} after
each line that it reads, and {"error": why} in place of any of them.
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Side:
    """`library` is what it is called, `kind` what runs the model at `path`; `images` is a folder of JPEG files."""

    library: str
    kind: str
    path: str
    images: str
    batch: int
    threads: int

    def files(self) -> list[bytes]:
        paths = sorted(Path(self.images).iterdir())
        return [paths[i % len(paths)].read_bytes() for i in range(self.batch)]


def tensorflow(side: Side) -> Callable[[], object]:
    """The signature that takes what is fed to a model: `logits` of a bundle, else the default one."""
    import numpy as np
    import tensorflow as tf

    loaded = tf.saved_model.load(_version(side.path))
    names = loaded.signatures
    function = names["logits" if "logits" in names else "serving_default"]
    ((key, spec),) = function.structured_input_signature[1].items()
    images = tf.constant(np.random.default_rng(0).normal(size=(side.batch, *spec.shape[1:])), tf.float32)
    return lambda: (loaded, *[output.numpy() for output in function(**{key: images}).values()])


def tensorflow_files(side: Side) -> Callable[[], object]:
    import tensorflow as tf

    loaded = tf.saved_model.load(_version(side.path))
    files = tf.constant(side.files())
    return lambda: (loaded, loaded.signatures["serving_default"](image_bytes=files)["scores"].numpy())


def decoding(side: Side) -> Callable[[], object]:
    """The pixels of the files, as many at once as there are threads, and nothing of them kept."""
    import tensorflow as tf

    def shape(file):
        return tf.shape(tf.image.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE"))

    return _each(side, lambda files: tf.map_fn(shape, files, fn_output_signature=tf.TensorSpec([3], tf.int32)))


def preparing(side: Side) -> Callable[[], object]:
    """What the network is given, of the files."""
    import tensorflow as tf

    from kerascnn.data import Preprocessing

    known = Preprocessing.load(Path(_version(side.path)) / "preprocessing.json")
    spec = tf.TensorSpec([*known.image_size, known.channels], tf.uint8)
    return _each(side, lambda files: known.normalise(tf.map_fn(known.decode, files, fn_output_signature=spec)))


def _each(side, function):
    import tensorflow as tf

    compiled = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)])
    files = tf.constant(side.files())
    return lambda: compiled(files).numpy()


def litert(side: Side) -> Callable[[], object]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=side.path, num_threads=side.threads)
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    shape = (side.batch, *given["shape"][1:])
    interpreter.resize_tensor_input(given["index"], shape)
    interpreter.allocate_tensors()
    images = (np.random.default_rng(0).normal(size=shape) * (50 if given["dtype"] == np.int8 else 1)).clip(-128, 127)
    images = images.astype(given["dtype"])

    def call():
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(wanted["index"])

    return call


def onnxruntime(side: Side) -> Callable[[], object]:
    import numpy as np
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = side.threads
    session = runtime.InferenceSession(side.path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    images = np.float32(np.random.default_rng(0).normal(size=(side.batch, *given.shape[1:])))
    return lambda: session.run(None, {given.name: images})


def openvino(side: Side, precision: str = "f32") -> Callable[[], object]:
    import numpy as np
    import openvino as ov
    import tensorflow as tf

    # From a folder it takes `serving_default` alone, and it decodes no JPEG: TensorFlow picks the signature.
    loaded = tf.saved_model.load(_version(side.path))
    model = ov.convert_model(loaded.signatures["logits"])
    shape = [side.batch, *model.input(0).partial_shape.get_max_shape()[1:]]
    model.reshape(shape)
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": side.threads}
    request = ov.Core().compile_model(model, "CPU", {**options, "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    images = np.float32(np.random.default_rng(0).normal(size=shape))
    return lambda: request.infer([images])


def _version(path: str) -> str:
    """Of a bundle its version, of which there is one; else the folder itself."""
    return str(Path(path) / "1") if (Path(path) / "1").is_dir() else path


KINDS = {
    "tensorflow": tensorflow,
    "tensorflow files": tensorflow_files,
    "decoding": decoding,
    "preparing": preparing,
    "litert": litert,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "openvino bfloat16": lambda side: openvino(side, "bf16"),
}


def main() -> None:
    side = Side(**json.loads(sys.argv[1]))
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # what libraries print must not come between

        def tell(**fields):
            print(json.dumps(fields), file=out, flush=True)

        try:
            call = KINDS[side.kind](side)
            for _ in range(3):
                call()
            tell(warm=True)
            for _ in sys.stdin:
                started, calls = time.perf_counter(), 0
                while calls < 3 or time.perf_counter() < started + SECONDS:
                    call()
                    calls += 1
                tell(milliseconds=1000 * (time.perf_counter() - started) / calls)
        except Exception as error:
            tell(error=f"{type(error).__name__}: {error}".splitlines()[0])
            raise


if __name__ == "__main__":
    main()
