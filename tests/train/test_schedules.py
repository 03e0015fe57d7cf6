import math

import pytest

from kerascnn.train.schedules import make_schedule


@pytest.mark.parametrize(
    ("name", "warmup", "step", "rate"),
    [
        ("cosine", 0, 0, 0.4),
        ("cosine", 0, 50, 0.2),
        ("cosine", 0, 100, 0.0),
        ("cosine", 0, 150, 0.0),
        ("cosine", 20, 0, 0.0),
        ("cosine", 20, 5, 0.1),
        ("cosine", 20, 20, 0.4),
        ("cosine", 20, 60, 0.2),
        ("cosine", 20, 80, 0.2 * (1 + math.cos(math.pi * 0.75))),
        ("cosine", 20, 100, 0.0),
        ("cosine", 100, 50, 0.2),
        ("constant", 0, 0, 0.4),
        ("constant", 0, 100, 0.4),
        ("constant", 20, 10, 0.2),
        ("constant", 20, 99, 0.4),
    ],
)
def test_rates(name, warmup, step, rate):
    schedule = make_schedule(name, 0.4, steps=100, warmup_steps=warmup)
    assert float(schedule(step)) == pytest.approx(rate, abs=1e-6)


def test_unknown():
    with pytest.raises(ValueError, match="no schedule 'cosin': there are cosine and constant"):
        make_schedule("cosin", 0.1, steps=10, warmup_steps=0)
