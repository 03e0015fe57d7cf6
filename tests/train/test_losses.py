"""The losses against NumPy in float64, against PyTorch's and timm's numbers, and where numbers are extreme."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn.train.losses import Objective, measure

CLASSES = 4
# What PyTorch 2.13.0 and timm 1.0.31 computed of these, in float64.
LOGITS = np.array([[2, -1, 0.5, 0], [-3, 4, 1, -0.5], [0.25, 0, -8, 8]])
LABELS = np.array([0, 2, 3])
SHARES = np.array([[0.7, 0.3, 0, 0], [0, 0.15, 0.85, 0], [0.5, 0, 0, 0.5]])
TAUGHT = np.array([[1.0, 0, 0, 3], [0, 2, 2, 0], [-1, 0, 1, 2]])

WEIGHTS = "1, 2, 0.5, 3"
# As keywords of an Objective.
OBJECTIVES = {
    "softmax": {},
    "smoothed": {"label_smoothing": 0.1},
    "binary": {"loss": "binary", "label_smoothing": 0.1},
    "binary_sum": {"loss": "binary(threshold=0.2, sum=True)", "label_smoothing": 0.1},
    # Smoothing lifts a share of 0.15 above the threshold, and leaves one of 0 below it.
    "binary_lifted": {"loss": "binary(threshold=0.2)", "label_smoothing": 0.7},
    "focal": {"loss": "focal"},
    "focal_below_1": {"loss": "focal(gamma=0.5, alpha=0.25)", "label_smoothing": 0.1},
    "weighted": {"class_weights": WEIGHTS, "label_smoothing": 0.1},
    "soft": {"teacher": lambda images: images, "distillation": "soft(weight=0.3, temperature=4)"},
    "hard": {"teacher": lambda images: images, "distillation": "hard(weight=0.3)", "label_smoothing": 0.1},
    "heads": {"heads": 3, "aux_weight": "0.4", "class_weights": WEIGHTS, "teacher": lambda images: images},
}


def softmax(x):
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def reference(labels, outputs, taught, fields):
    """The same in NumPy, for logits of moderate size."""
    shares = labels if labels.ndim == 2 else np.eye(CLASSES)[labels]
    name, smoothing = fields.get("loss", "softmax"), fields.get("label_smoothing", 0.0)

    def loss(shares, logits, smoothing):
        targets, p = shares * (1 - smoothing) + smoothing / CLASSES, softmax(logits)
        if name.startswith("binary"):
            targets = np.float64(targets > 0.2) if "threshold" in name else targets
            q = 1 / (1 + np.exp(-logits))
            each = -(targets * np.log(q) + (1 - targets) * np.log(1 - q))
            return each.sum(-1) if "sum" in name else each.mean(-1)
        gamma, alpha = {"softmax": (0, 1), "focal": (2, 1)}.get(name, (0.5, 0.25))
        return -alpha * np.sum(targets * (1 - p) ** gamma * np.log(p), -1)

    main, *auxiliary = (loss(shares, logits, smoothing) for logits in outputs)
    distillation = fields.get("distillation", "soft(weight=0.5, temperature=1)")
    if "teacher" in fields and distillation.startswith("soft"):
        weight, temperature = (0.3, 4) if "0.3" in distillation else (0.5, 1)
        teacher, student = softmax(taught / temperature), softmax(outputs[0] / temperature)
        divergence = np.sum(teacher * np.log(teacher / student), -1)
        main = (1 - weight) * main + weight * temperature**2 * divergence
    elif "teacher" in fields:
        main = 0.7 * main + 0.3 * loss(np.eye(CLASSES)[taught.argmax(-1)], outputs[0], 0)
    weights = shares @ [1, 2, 0.5, 3] if "class_weights" in fields else 1
    return weights * (main + 0.4 * sum(auxiliary))


def outputs_of(logits, fields):
    return [logits, -logits, logits / 2] if "heads" in fields else [logits]


def compute(fields, labels, logits, taught):
    """Of the logits: each example's loss, and the gradient of the sum."""
    objective = Objective(classes=CLASSES, **fields)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = objective(labels, outputs_of(logits, fields) if "heads" in fields else logits, taught)
    return losses, tape.gradient(losses, logits)


@pytest.mark.parametrize("labels", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_gradients_are_numpys(name, labels):
    fields = OBJECTIVES[name]
    losses, gradient = compute(fields, labels, tf.constant(LOGITS), TAUGHT)
    assert losses.dtype == gradient.dtype == tf.float64
    np.testing.assert_allclose(losses, reference(labels, outputs_of(LOGITS, fields), TAUGHT, fields), rtol=1e-10)
    step = 1e-6
    for place in np.ndindex(LOGITS.shape):
        ahead, behind = LOGITS.copy(), LOGITS.copy()
        ahead[place] += step
        behind[place] -= step
        difference = np.subtract(
            *(reference(labels, outputs_of(x, fields), TAUGHT, fields).sum() for x in (ahead, behind))
        )
        np.testing.assert_allclose(gradient.numpy()[place], difference / (2 * step), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_less_precise_logits_are_computed_in_float32(name, dtype):
    fields, logits = OBJECTIVES[name], tf.cast(LOGITS, dtype)
    exact = logits.numpy().astype(np.float64)
    losses, _ = compute(fields, np.float32(SHARES), logits, np.float32(TAUGHT))
    assert losses.dtype == tf.float32
    expected = reference(SHARES, outputs_of(exact, fields), TAUGHT, fields)
    # In the list of heads, half of a float16 and the like are exact, too.
    np.testing.assert_allclose(losses, expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_xla_computes_the_same_and_extreme_logits_give_no_nan(name, dtype):
    extreme = [[1e4, -1e4, 0, 0], [-1e4, 1e4, 0, 0], [1e4, 1e4, -1e4, 1e4], [0, 0, 0, 0], [-1e4, -1e4, -1e4, -1e4]]
    logits = tf.constant(np.concatenate([LOGITS, extreme, extreme]), dtype)
    labels = tf.constant(np.concatenate([SHARES, np.tile(np.eye(CLASSES)[:1], [10, 1])]), dtype)
    taught = tf.constant(np.concatenate([TAUGHT, extreme, extreme[::-1]]), dtype)
    compiled = tf.function(lambda *batch: compute(OBJECTIVES[name], *batch), jit_compile=True)
    eager, by_xla = compute(OBJECTIVES[name], labels, logits, taught), compiled(labels, logits, taught)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for one, other in zip(eager, by_xla, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("fields", "labels", "losses"),
    [
        ({"label_smoothing": 0.1}, LABELS, [0.504849582389822, 3.122473065478907, 0.7945160242321602]),
        ({"label_smoothing": 0.1}, SHARES, [1.314849582389822, 2.717473065478907, 4.28201602423216]),
        # timm's BinaryCrossEntropy; mixed labels are smoothed ahead of it, by its Mixup.
        ({"loss": "binary"}, LABELS, [0.5268534658253118, 1.2135189877974701, 0.37993935329614514]),
        ({"loss": "binary"}, SHARES, [0.7518534658253119, 1.1010189877974703, 1.3486893532961453]),
        (
            {"loss": "binary", "label_smoothing": 0.1},
            LABELS,
            [0.5674784658253118, 1.2291439877974704, 0.5783768532961451],
        ),
        (
            {"loss": "binary(sum=True)", "label_smoothing": 0.1},
            SHARES,
            [3.0799138633012473, 4.511575951189881, 5.80100741318458],
        ),
        (OBJECTIVES["binary_sum"], LABELS, [2.107413863301247, 4.8540759511898806, 1.5197574131845806]),
        (OBJECTIVES["binary_sum"], SHARES, [3.1074138633012476, 4.8540759511898806, 1.2697574131845806]),
        # (1 - p)**gamma * cross_entropy.
        ({"loss": "focal"}, LABELS, [0.0287717623333572, 2.77974274598934, 4.4915358008569024e-10]),
        ({"loss": "focal(gamma=0.5)"}, LABELS, [0.18432912769677642, 2.987372330690417, 2.1197302500841942e-05]),
        # kl_div of log_softmaxes at temperature 4, times 16.
        (
            {"teacher": lambda images: TAUGHT, "distillation": "soft(weight=1, temperature=4)"},
            LABELS,
            [1.4169951642142338, 1.5772550846074274, 11.95554729593239],
        ),
    ],
)
def test_losses_are_those_of_pytorch_and_timm(fields, labels, losses):
    np.testing.assert_allclose(Objective(classes=CLASSES, **fields)(labels, LOGITS), losses, rtol=1e-7)


def test_a_teachers_class_is_a_label_of_its_own_and_is_not_smoothed():
    objective = Objective(
        classes=CLASSES, label_smoothing=0.1, teacher=lambda images: TAUGHT, distillation="hard(weight=1)"
    )
    # The plain cross-entropy with classes 3, 1 (the first of two that are alike) and 3.
    np.testing.assert_allclose(objective(LABELS, LOGITS), Objective(classes=CLASSES)(TAUGHT.argmax(-1), LOGITS))


def test_balanced_weights():
    objective = Objective(classes=CLASSES, class_weights="balanced", class_counts=[10, 0, 40, 50])
    plain = Objective(classes=CLASSES)(LABELS, LOGITS)
    np.testing.assert_allclose(objective(LABELS, LOGITS) / plain, [100 / 40, 100 / 160, 100 / 200])


def test_heads_that_start_at_1():
    """On a model whose training mode changes its state, which measuring must not."""
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.get_strategy()
    image = keras.Input([3], name="image")
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(image))
    model = keras.Model(image, [keras.layers.Dense(CLASSES)(x), keras.layers.Dense(CLASSES)(x)])
    before = [variable.numpy() for variable in model.variables]
    images, labels = np.random.default_rng(0).integers(0, 255, [20, 3], np.uint8), np.arange(20) % CLASSES

    objective = Objective(classes=CLASSES, heads=2, aux_weight="auto")
    assert objective.automatic and list(objective.variables) == ["loss/scales"]
    measure(objective, strategy, model, (images, labels), lambda images: tf.cast(images, tf.float32))
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable)
    outputs = model(np.float32(images), training=True)  # the draws of dropout are the same, too
    parts = objective.parts(labels, outputs).numpy()
    assert parts.shape == (2, 20) and len(set(objective.scales.numpy())) == 2
    np.testing.assert_allclose(parts.mean(1) * objective.scales.numpy(), [1, 1], rtol=1e-5)
    np.testing.assert_allclose(np.mean(objective(labels, outputs)), 2, rtol=1e-5)

    measure(objective, strategy, model, (images, labels), lambda images: tf.cast(images, tf.float32) * np.nan)
    np.testing.assert_array_equal(objective.scales, [1, 1])  # nothing that could be divided by


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "sofmax"}, "loss: there is no 'sofmax': did you mean softmax"),
        ({"loss": ""}, "loss='': one of softmax, binary, focal is wanted"),
        ({"loss": "softmax, focal"}, "one of softmax, binary, focal is wanted"),
        ({"loss": "binary(threshold=1.0)"}, "binary\\(threshold=1.0\\): from 0 to below 1"),
        ({"loss": "focal(gamma=-1)"}, "gamma from 0 on"),
        ({"loss": "focal(alpha=0)"}, "alpha above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: from 0 to below 1"),
        ({"distillation": "soft(weight=1.5)"}, "soft\\(weight=1.5\\): from 0 to 1"),
        ({"distillation": "soft(temperature=0)"}, "temperature=0\\): a number above 0"),
        ({"distillation": "hard(weight=-1)"}, "hard\\(weight=-1\\): from 0 to 1"),
        ({"aux_weight": "much", "heads": 2}, "aux_weight='much': a number from 0 on, or auto"),
        ({"aux_weight": "-1", "heads": 2}, "a number from 0 on, or auto"),
        ({"aux_weight": "nan"}, "a number from 0 on, or auto"),
        ({"aux_weight": "1, 2", "heads": 3}, "a number from 0 on, or auto"),
        ({"aux_weight": "auto"}, "the model has no auxiliary heads"),
        ({"class_weights": "1, 2"}, "a number from 0 on for each of 4 classes"),
        ({"class_weights": "1, 2, x, 4"}, "a number from 0 on for each of 4 classes"),
        ({"class_weights": "1, 2, inf, 4"}, "a number from 0 on for each of 4 classes"),
        ({"class_weights": "0, 0, 0, 0"}, "a number from 0 on for each of 4 classes"),
        ({"class_weights": "balanced"}, "the numbers of examples of 4 classes are wanted"),
    ],
)
def test_what_cannot_be_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Objective(classes=CLASSES, **fields)


def test_another_number_of_outputs_is_named():
    with pytest.raises(ValueError, match="the model gives 1 outputs, where 2 were announced"):
        Objective(classes=CLASSES, heads=2)(LABELS, LOGITS)
