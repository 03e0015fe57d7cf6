"""Rates at every step against formulas in NumPy and PyTorch's numbers, at the joints, compiled and not."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerascnn.train.schedules import SCHEDULES, make_schedule, plot

RATE, EPOCHS, PER_EPOCH, WARMUP, COOLDOWN = 0.4, 30, 7, 3, 5
STEPS = EPOCHS * PER_EPOCH


def made(text, **other):
    return make_schedule(text, learning_rate=RATE, **{"epochs": EPOCHS, "steps_per_epoch": PER_EPOCH} | other)


def restarts(t, n, height=1.0, end=0.0, *, first, growth, shrink):
    """The share at `t` steps after the warm-up, wave after wave; one that ends with the n steps is the last."""
    while t > first or t == first < n:
        n -= first
        t, first, height = t - first, first * growth, height * shrink
    return end + (height - end) * (1 + math.cos(math.pi * t / first)) / 2


def cycle(t, length, *, rise, start, end):
    """In lines."""
    top = rise * length
    return start + (1 - start) * t / top if t < top else 1 + (end - 1) * (t - top) / (length - top)


def cosine_cycle(t, length, *, rise, start, end):
    top = rise * length
    low, progress = (start, 1 - t / top) if t < top else (end, (t - top) / (length - top))
    return low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2


# The share at t steps, of a part that is n steps long; those that count from the very start get s steps since then.
FORMULAS = {
    "constant": lambda t, n, s: 1,
    "plateau": lambda t, n, s: 1,
    "step(epochs=8, factor=0.5)": lambda t, n, s: 0.5 ** (s // 56),
    "step(epochs=2.4, factor=0.97)": lambda t, n, s: 0.97 ** (10 * s // 168),
    "multistep(epochs=(10, 20), factor=0.2)": lambda t, n, s: 1 if s < 70 else 0.2 if s < 140 else 0.04,
    "multistep(epochs=(1,))": lambda t, n, s: 1 if s < 7 else 0.1,
    "exponential": lambda t, n, s: math.exp(math.log(0.97) * t / 7 / 2.4),
    "polynomial(end=0.1)": lambda t, n, s: 1 - 0.9 * t / n,
    "polynomial(power=2, end=0.2)": lambda t, n, s: 0.2 + 0.8 * (1 - t / n) ** 2,
    "cosine(end=0.01)": lambda t, n, s: 0.01 + 0.495 * (1 + math.cos(math.pi * t / n)),
    "cosine_restarts(epochs=4, shrink=0.5)": lambda t, n, s: restarts(t, n, first=28, growth=2, shrink=0.5),
    "cosine_restarts(epochs=3, growth=1, end=0.1)": lambda t, n, s: restarts(
        t, n, end=0.1, first=21, growth=1, shrink=1
    ),
    "cosine_restarts(epochs=99)": lambda t, n, s: restarts(t, n, first=693, growth=2, shrink=1),
    "one_cycle": lambda t, n, s: cosine_cycle(t, n, rise=0.3, start=0.04, end=4e-6),
    "one_cycle(curve='linear', rise=0.45, end=0)": lambda t, n, s: cycle(t, n, rise=0.45, start=0.04, end=0),
}


def expected(formula, warmup, cooldown):
    """Every rate from the first step to the one behind the last, one by one."""
    rates, length = [], STEPS - warmup - cooldown
    for s in range(STEPS + 1):
        within = min(max(s, warmup), STEPS - cooldown)
        rate = RATE * formula(within - warmup, length, within)
        if s < warmup:
            rate *= s / warmup
        if s > STEPS - cooldown:
            rate *= (STEPS - s) / cooldown
        rates.append(rate)
    return rates


def test_every_schedule_has_a_formula():
    assert {text.partition("(")[0] for text in FORMULAS} == set(SCHEDULES)


@pytest.mark.parametrize(("warmup", "cooldown"), [(0, 0), (WARMUP, 0), (WARMUP, COOLDOWN), (0.5, 27 / 7)])
@pytest.mark.parametrize("text", FORMULAS)
def test_every_rate(text, warmup, cooldown):
    if "one_cycle" in text:
        warmup, cooldown = 0, 0 if "end=0" in text else cooldown
    rates = made(text, warmup_epochs=warmup, cooldown_epochs=cooldown)(np.arange(STEPS + 1)).numpy()
    assert rates.dtype == np.float32
    wanted = expected(FORMULAS[text], round(warmup * PER_EPOCH), round(cooldown * PER_EPOCH))
    np.testing.assert_allclose(rates, wanted, rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize("text", FORMULAS)
def test_compiled_and_with_xla_as_eagerly(text):
    end = 0 if "end=0)" in text else COOLDOWN
    schedule = made(text, warmup_epochs=0 if "one_cycle" in text else WARMUP, cooldown_epochs=end)
    steps = np.arange(STEPS + 2)
    eager = schedule(steps).numpy()

    @tf.function
    def compiled(step):
        return schedule(step)

    @tf.function(jit_compile=True)
    def by_xla(step):
        return schedule(step)

    np.testing.assert_array_equal(compiled(steps), eager)
    np.testing.assert_allclose(by_xla(steps), eager, rtol=2e-7, atol=1e-9)
    step = tf.Variable(25, dtype=tf.int64)
    for one in (schedule(25), schedule(step), schedule(np.int32(25)), compiled(step), by_xla(step)):
        assert one.shape == () and one.dtype == tf.float32
        assert float(one) == pytest.approx(float(eager[25]), rel=2e-7)


@pytest.mark.parametrize("text", ["constant", "cosine(end=0.1)", "step(epochs=8)", "multistep(epochs=(10, 20))"])
def test_joints(text):
    rates = made(text, warmup_epochs=WARMUP, cooldown_epochs=COOLDOWN)(np.arange(STEPS + 50)).numpy()
    warmup, cooldown = WARMUP * PER_EPOCH, STEPS - COOLDOWN * PER_EPOCH
    at_cooldown = {"constant": 1, "cosine(end=0.1)": 0.1, "step(epochs=8)": 1e-3, "multistep(epochs=(10, 20))": 0.01}
    assert rates[0] == 0 and rates[1] == pytest.approx(RATE / warmup)
    assert rates[warmup] == pytest.approx(RATE)
    assert rates[cooldown] == pytest.approx(RATE * at_cooldown[text])
    assert rates[STEPS - 1] == pytest.approx(rates[cooldown] / (STEPS - cooldown))
    assert not rates[STEPS:].any()


def test_a_factor_that_falls_in_the_warmup_is_where_the_warmup_ends():
    rates = made("multistep(epochs=(2, 10), factor=0.5)", warmup_epochs=4)(np.arange(71)).numpy()
    np.testing.assert_allclose(rates[:28], 0.5 * RATE * np.arange(28) / 28, rtol=2e-7)
    assert rates[28] == rates[69] == pytest.approx(0.5 * RATE) and rates[70] == pytest.approx(0.25 * RATE)


# What PyTorch 2.13.0's schedulers give after 0, 1, 7, ... steps at lr=0.4; OneCycleLR ends at its last step, hence 101.
TORCH_STEPS = [0, 1, 7, 30, 31, 55, 80, 99]
TORCH = {
    "one_cycle": [  # OneCycleLR(total_steps=101, pct_start=31 / 101)
        0.016000000000000014, 0.017051796089291527, 0.06531619350834034, 0.4, 0.39979861411380974, 0.28677720071652035,
        0.0753033384200948, 0.0002029858861903152,
    ],
    "one_cycle(curve='linear')": [  # anneal_strategy="linear"
        0.016, 0.0288, 0.1056, 0.4, 0.39428573714285714, 0.2571434285714286, 0.11428685714285713, 0.005715862857142817,
    ],
    "cosine(end=0.01)": [  # CosineAnnealingLR(100, eta_min=0.004)
        0.4, 0.39990229895241486, 0.3952315188638719, 0.3183814799539097, 0.31329250881472187, 0.1710259759220342,
        0.04181463511376038, 0.004097701047585143,
    ],
    "cosine_restarts(epochs=1)": [  # CosineAnnealingWarmRestarts(10, T_mult=2)
        0.4, 0.39021130325903075, 0.0824429495415054, 0.4, 0.3993834667466256, 0.12346331352698206,
        0.38477590650225735, 0.28373194750748565,
    ],
    "multistep(epochs=(3, 8))": [0.4, 0.4, 0.4, 0.04, 0.04, 0.04, 0.004, 0.004],  # MultiStepLR([30, 80])
    "step(epochs=2.4, factor=0.97)": [  # StepLR(24, 0.97)
        0.4, 0.4, 0.4, 0.388, 0.388, 0.37636000000000003, 0.36506920000000004, 0.354117124,
    ],
    "exponential(epochs=0.1)": [  # ExponentialLR(0.97)
        0.4, 0.388, 0.32319313791245197, 0.16040282741726297, 0.1555907425947451, 0.07490406305514427,
        0.03497830276753086, 0.019609281618723984,
    ],
    "polynomial(power=0.9)": [  # PolynomialLR(100, 0.9)
        0.4, 0.3963981933651337, 0.3747094492126871, 0.2901671387748881, 0.2864337395548544, 0.1949625756715982,
        0.09396951544704156, 0.006339572769844463,
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", TORCH)
def test_as_pytorch(text):
    schedule = make_schedule(text, learning_rate=0.4, epochs=10, steps_per_epoch=10)
    np.testing.assert_allclose(schedule(np.array(TORCH_STEPS)), TORCH[text], rtol=1e-6)


def test_a_rounded_number_of_epochs_is_no_step_late():
    # 30 * 0.1 is 3.0000000000000004
    rates = made("step(epochs=0.1, factor=0.5)", steps_per_epoch=30)(np.arange(7)).numpy()
    np.testing.assert_allclose(rates, RATE * 0.5 ** np.array([0, 0, 0, 1, 1, 1, 2]), rtol=2e-7)
    rates = made("multistep(epochs=(0.1, 0.7), factor=0.5)", steps_per_epoch=30)(np.array([2, 3, 20, 21])).numpy()
    np.testing.assert_allclose(rates, RATE * np.array([1, 0.5, 0.5, 0.25]), rtol=2e-7)


def test_plateau_is_that_of_pytorch():
    plateau = made("plateau(factor=0.5, patience=2, threshold=0.01, smallest=0.2)").plateau
    losses = [3, 2, 1.99, 1.985, 1.5, 1.6, math.nan, 1.7, 1.49, 1.4, 1.4, 1.4, 1.4, 1.0, 2, 2, 2, 2, 2, 2]
    state = plateau.start()
    factors = []
    for loss in losses:
        before = state.copy()
        after = plateau.after(state, loss)
        np.testing.assert_array_equal(state, before)
        state = np.frombuffer(after.tobytes())  # a checkpoint holds it all
        factors.append(plateau.factor(state))
    # ReduceLROnPlateau of PyTorch 2.13.0 with these numbers and min_lr=0.2 of the rate
    assert factors == pytest.approx([1.0] * 7 + [0.5] * 5 + [0.25] * 4 + [0.2] * 4)
    assert state.dtype == np.float64 and made("cosine").plateau is None


def test_plateau_never_raises_the_rate_again():
    plateau = made("plateau(patience=0, factor=0.5)").plateau
    state = plateau.after(plateau.after(plateau.start(), 1.0), 1.0)
    assert plateau.factor(state) == 0.5
    assert plateau.factor(plateau.after(state, 0.5)) == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", "schedule: there is no 'cosin': did you mean cosine"),
        ("", "schedule='': one is wanted"),
        ("cosine, step", "schedule='cosine, step': one is wanted"),
        ("cosine(ends=1)", "cosine has no parameter 'ends': did you mean end?"),
        ("cosine(end=1)", "cosine(end=1): from 0 on and below 1"),
        ("step(epochs=0)", "step(epochs=0): above 0"),
        ("step(factor=1.5)", "step(factor=1.5): above 0 and up to 1"),
        ("multistep(epochs=(30, 20))", "multistep(epochs=(30, 20)): rising numbers above 0"),
        ("multistep(epochs=(0, 20))", "multistep(epochs=(0, 20)): rising numbers above 0"),
        ("multistep(epochs=30)", "multistep(epochs=30): (a number, ...) is wanted."),
        ("multistep(factor=0)", "multistep(factor=0): above 0 and up to 1"),
        ("exponential(epochs=-1)", "exponential(epochs=-1): above 0"),
        ("polynomial(power=0)", "polynomial(power=0): above 0"),
        ("cosine_restarts(growth=0.5)", "cosine_restarts(growth=0.5): 1 or more"),
        ("cosine_restarts(shrink=2)", "cosine_restarts(shrink=2): above 0 and up to 1"),
        ("cosine_restarts(epochs=0.1)", "cosine_restarts(epochs=0.1): at least a step"),
        ("one_cycle(rise=1)", "one_cycle(rise=1): above 0 and below 1"),
        ("one_cycle(curve='bent')", "one_cycle(curve='bent'): 'cosine' or 'linear' is wanted."),
        ("plateau(patience=-1)", "plateau(patience=-1): 0 or more"),
        ("plateau(smallest=1.5)", "plateau(smallest=1.5): from 0 on and below 1"),
    ],
)
def test_wrong_texts_are_named(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        made(text)


@pytest.mark.parametrize(
    ("text", "other", "message"),
    [
        ("cosine", {"warmup_epochs": 20, "cooldown_epochs": 11}, "cooldown_epochs=11 do not fit into epochs=30."),
        ("cosine", {"warmup_epochs": -1}, "warmup_epochs=-1"),
        ("cosine", {"cooldown_epochs": 1}, "has fallen to 0 when the cool-down begins: give it an end="),
        ("one_cycle", {"warmup_epochs": 1}, "warms up by itself: warmup_epochs=1 has to be 0."),
        ("cosine", {"learning_rate": 0}, "learning_rate=0: above 0"),
    ],
)
def test_parts_that_do_not_fit_are_named(text, other, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_schedule(text, **{"learning_rate": 1, "epochs": 30, "steps_per_epoch": 7} | other)


def test_warmup_may_take_the_whole_run():
    rates = made("cosine", warmup_epochs=EPOCHS)(np.arange(STEPS + 1)).numpy()
    np.testing.assert_allclose(rates, RATE * np.arange(STEPS + 1) / STEPS, rtol=2e-7)


def test_plot(tmp_path):
    schedule = made("cosine(end=0.1)", warmup_epochs=WARMUP, cooldown_epochs=COOLDOWN)
    plot(schedule, tmp_path / "rates.png", steps_per_epoch=PER_EPOCH, epochs=EPOCHS)
    with Image.open(tmp_path / "rates.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB"), int)
    blue = np.argwhere((pixels[..., 2] - pixels[..., 0]) > 120)  # the curve
    top, left = blue.min(0)
    bottom, right = blue.max(0)
    peak = blue[blue[:, 0] == top, 1].mean()
    assert (peak - left) / (right - left) == pytest.approx(WARMUP / EPOCHS, abs=0.02)
    assert right - left > pixels.shape[1] / 2 and bottom - top > pixels.shape[0] / 2
