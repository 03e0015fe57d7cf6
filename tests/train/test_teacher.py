"""Teachers: a run's folder or published weights, on images of the student, in a compiled step."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerascnn
from kerascnn import data
from kerascnn.train.teacher import load_teacher

IMAGES = np.random.default_rng(0).integers(0, 16, [6, 8, 8, 1], np.uint8)
DIGITS = {"classes": 10, "image_size": (8, 8), "channels": 1}


def logits_of(run_dir, images):
    model = kerascnn.load_model(run_dir / "model.keras")
    return model(data.Preprocessing.load(run_dir / "preprocessing.json").normalise(images), training=False)


@pytest.mark.parametrize("form", ["{}", "resnet20_cifar:{}", "resnet20_cifar:{}/model.keras"])
def test_a_run_teaches_what_its_model_says(form, run_dir):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")  # of the student
    try:
        teacher = load_teacher(form.format(run_dir), **DIGITS)
    finally:
        keras.config.set_dtype_policy(before)
    logits = teacher(IMAGES)
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, logits_of(run_dir, IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["one_device", "mirrored"])
def test_a_teacher_works_in_a_compiled_step_and_has_no_gradient(name, run_dir):
    make = {
        "one_device": tf.distribute.OneDeviceStrategy,
        "mirrored": lambda cpu: tf.distribute.MirroredStrategy([cpu]),
    }
    strategy = make[name]("CPU:0")
    with strategy.scope():
        teacher = load_teacher(str(run_dir), **DIGITS)
        student = tf.Variable(2.0)

    def step(images):
        with tf.GradientTape() as tape:
            logits = teacher(images)
            loss = tf.reduce_sum(student * logits)
        watched = [variable for variable in tape.watched_variables() if variable is not student]
        return logits, tape.gradient(loss, [student, *watched], unconnected_gradients="zero")[1:]

    compiled = tf.function(lambda images: strategy.run(step, (images,)), jit_compile=name == "one_device")
    logits, gradients = compiled(tf.constant(IMAGES))
    np.testing.assert_allclose(logits, logits_of(run_dir, IMAGES), rtol=1e-4, atol=1e-4)
    assert all(not np.any(gradient) for gradient in gradients)


REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
from kerascnn.train.teacher import load_teacher

images = np.random.default_rng(0).integers(0, 16, [6, 8, 8, 1], np.uint8)
alone = load_teacher(sys.argv[1], classes=10, image_size=(8, 8), channels=1)(images)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    teacher = load_teacher(sys.argv[1], classes=10, image_size=(8, 8), channels=1)
shares = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(images[context.replica_id_in_sync_group::2]))
found = strategy.experimental_local_results(tf.function(lambda images: strategy.run(teacher, (images,)))(shares))
for i in range(2):
    np.testing.assert_allclose(found[i], alone[i::2], rtol=1e-5, atol=1e-5)
print("alike")
"""


@pytest.mark.slow
def test_every_replica_has_the_teacher(run_dir):
    done = subprocess.run([sys.executable, "-c", REPLICAS, str(run_dir)], capture_output=True, text=True)
    assert done.stdout == "alike\n", done.stderr


def test_a_teacher_is_built_for_the_students_images(run_dir):
    images = np.random.default_rng(0).integers(0, 16, [2, 12, 10, 1], np.uint8)
    teacher = load_teacher(str(run_dir), **{**DIGITS, "image_size": (12, 10)})
    model = kerascnn.create_model("resnet20_cifar", input_shape=(12, 10, 1), weights=run_dir)
    normalised = data.Preprocessing.load(run_dir / "preprocessing.json").normalise(images)
    np.testing.assert_allclose(teacher(images), model(normalised), rtol=1e-5, atol=1e-5)


def test_published_weights_bring_their_own_mean_and_deviation(tmp_path):
    """On weights in timm's form: those that a run publishes are read as those of the hub are."""
    keras.utils.set_random_seed(0)
    name = "mobilenet_v3_small_075"
    form = kerascnn.weights.form("timm", name)
    model = kerascnn.create_model(name, num_classes=3, input_shape=(32, 32, 3), **form)
    kerascnn.weights.save_timm(model, tmp_path)
    images = np.random.default_rng(0).integers(0, 255, [2, 32, 32, 3], np.uint8)
    teacher = load_teacher(f"{name}:{tmp_path}", classes=3, image_size=(32, 32), channels=3)
    published = kerascnn.weights.preprocessing(tmp_path)
    expected = model((images - np.float32(published.mean)) / np.float32(published.std))
    np.testing.assert_allclose(teacher(images), expected, rtol=1e-4, atol=1e-5)


def test_of_several_heads_the_first_one_teaches(tmp_path, run_dir):
    image = keras.Input([8, 8, 1])
    x = keras.layers.Flatten()(image)
    model = keras.Model(image, [keras.layers.Dense(10)(x), keras.layers.Dense(10)(x)])
    model.save(tmp_path / "model.keras")
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    preprocessing.save(tmp_path / "preprocessing.json")
    expected = model(preprocessing.normalise(IMAGES))[0]
    np.testing.assert_allclose(load_teacher(str(tmp_path), **DIGITS)(IMAGES), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("{}", {"classes": 7}, "knows 10 classes, and the data has 7"),
        ("{}", {"channels": 3}, "sees 1 channels, and the data has 3"),
        ("resnet20_cifar:{}", {"channels": 3}, "sees 1 channels, and the data has 3"),
        ("{}/none", {}, "there is no such folder. A teacher is the model_dir of a finished run, or NAME:WEIGHTS"),
        ("resnet5:timm:resnet50.a1_in1k", {}, "there is no model 'resnet5': did you mean"),
        ("resnet18:{}", {}, "holds the weights of resnet20_cifar, not of resnet18"),
        ("resnet50:timm:resnet50.a1", {}, "resnet50.a1"),
    ],
)
def test_what_does_not_fit_is_named(text, fields, message, run_dir):
    with pytest.raises(ValueError, match=message):
        load_teacher(text.format(run_dir), **{**DIGITS, **fields})


def test_a_folder_without_a_finished_run_is_named(tmp_path, run_dir):
    with pytest.raises(ValueError, match=r"holds no finished run \(no model.keras\)"):
        load_teacher(str(tmp_path), **DIGITS)
    (tmp_path / "model.keras").symlink_to(run_dir / "model.keras")
    with pytest.raises(ValueError, match=r"holds no finished run \(no preprocessing.json\)"):
        load_teacher(str(tmp_path), **DIGITS)


def test_a_teacher_that_takes_one_size_says_so(tmp_path, run_dir):
    model = kerascnn.create_model("lenet5", num_classes=10, input_shape=(32, 32, 1))
    model.save(tmp_path / "model.keras")
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    preprocessing.save(tmp_path / "preprocessing.json")
    with pytest.raises(ValueError, match="takes images of 32x32 alone, and the data's are 40x40"):
        load_teacher(str(tmp_path), **{**DIGITS, "image_size": (40, 40)})
    with pytest.raises(ValueError, match="takes images of 32x32 alone, and the data's are 4x4"):
        load_teacher(str(tmp_path), **{**DIGITS, "image_size": (4, 4)})
