import dataclasses
import math

import numpy as np
import pytest

from kerascnn.train.recipe import Diverged
from kerascnn.train.schedules import make_schedule
from kerascnn.train.stopping import Course
from recipes.digits_lenet5 import RECIPE


def course(patience=0, schedule="constant", patient=False):
    plateau = make_schedule(schedule, learning_rate=1.0, epochs=10, steps_per_epoch=5).plateau
    return Course(dataclasses.replace(RECIPE, patience=patience), plateau, patient=patient)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_told_with_its_step(loss):
    run = course()
    run.after_steps([2.0, 1.0], 10)
    with pytest.raises(Diverged, match=rf"the loss is {loss} in step 13\."):
        run.after_steps([1.5, loss], 12)


def test_float16_has_some_steps_to_find_its_loss_scale():
    run = course(patient=True)
    run.after_steps([math.nan] * 20 + [2.0] + [math.nan] * 20, 0)
    assert run.first_loss == 2.0
    with pytest.raises(Diverged, match="in step 41"):
        run.after_steps([math.nan], 41)


def test_a_loss_above_three_times_the_first_for_a_hundred_steps():
    run = course()
    run.after_steps([2.0] + [6.01] * 99 + [6.0] + [7.0] * 60, 0)
    run.after_steps([7.0] * 39, 161)
    assert run.high == 99
    with pytest.raises(Diverged, match=r"the loss is 8 in step 200 and was above 3 times the first step's, 2, for 100"):
        run.after_steps([8.0], 200)


def test_patience_counts_epochs_without_a_better_accuracy():
    run = course(patience=2)
    best = [run.after_epoch(epoch, loss=1.0, accuracy=a) for epoch, a in enumerate([0.5, 0.4, 0.6, 0.6, 0.5], 1)]
    assert best == [True, False, True, False, False]
    assert (run.best, run.best_epoch, run.ended) == (0.6, 3, True)


def test_without_patience_nothing_ends():
    run = course()
    for epoch in range(1, 100):
        run.after_epoch(epoch, loss=1.0, accuracy=0.1)
    assert not run.ended


def test_the_rate_falls_on_a_plateau_and_with_each_rollback():
    run = course(schedule="plateau(factor=0.1, patience=2)")
    for epoch in range(1, 6):
        run.after_epoch(epoch, loss=1.0, accuracy=0.5)
    lowered = run.rate_factor()
    assert lowered in (pytest.approx(0.1), pytest.approx(0.01))
    run.rollbacks = 2
    assert run.rate_factor() == pytest.approx(lowered / 4)


def test_it_goes_on_from_its_arrays():
    run, other = course(patience=3, schedule="plateau"), course(patience=3, schedule="plateau")
    run.after_steps([2.0, 7.0, 7.0], 0)
    run.after_epoch(1, loss=1.0, accuracy=0.5)
    run.after_epoch(2, loss=1.0, accuracy=0.4)
    run.rollbacks = 1
    other.restore(run.arrays())
    for name, array in run.arrays().items():
        assert not array.dtype.hasobject
        np.testing.assert_array_equal(other.arrays()[name], array)
    assert other.after_epoch(3, loss=1.0, accuracy=0.5) == run.after_epoch(3, loss=1.0, accuracy=0.5) is False
