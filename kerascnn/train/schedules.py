"""The learning rate at each step, by name."""

import keras


def make_schedule(name: str, learning_rate: float, *, steps: int, warmup_steps: int):
    """A Keras schedule: from 0 up to `learning_rate` in a line over `warmup_steps`, then as the name says.

    `cosine` falls to 0 at `steps` (arXiv:1608.03983, without restarts); `constant` stays.

    Raises:
      ValueError: another name.
    """
    if name == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0 if warmup_steps else learning_rate,
            # CosineDecay counts its steps from the end of the warm-up.
            max(1, steps - warmup_steps),
            warmup_target=learning_rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    if name == "constant":
        return keras.optimizers.schedules.PolynomialDecay(
            0.0 if warmup_steps else learning_rate, max(1, warmup_steps), end_learning_rate=learning_rate
        )
    raise ValueError(f"no schedule {name!r}: there are cosine and constant.")
