"""The training loop: compiled calls of many steps over `tf.distribute`, and what happens between them.

Not Keras's `fit`: that averages metrics over replicas, which is wrong for a partial batch, and does not run on many
machines. What is trained is a plain Keras model all the same.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerascnn import console, data, serve
from kerascnn.data.batches import steps_per_epoch
from kerascnn.data.lost import explanation
from kerascnn.evaluate import metrics
from kerascnn.models import load_model
from kerascnn.serve import card
from kerascnn.train.averages import make_reestimate
from kerascnn.train.finish import finish
from kerascnn.train.inputs import Inputs
from kerascnn.train.interrupt import SIGNALS, Interrupt, Interrupted, explain_lost_worker
from kerascnn.train.losses import measure
from kerascnn.train.probe import Probe
from kerascnn.train.recipe import BadData, Diverged, LostWorker, Recipe, RunFlags, WrongInput
from kerascnn.train.run_dir import RunDir
from kerascnn.train.schedules import plot
from kerascnn.train.state import State, schedule_of
from kerascnn.train.step import make_step, make_test_step
from kerascnn.train.steps import Steps
from kerascnn.train.stopping import ADVICE, ROLLBACKS
from kerascnn.train.strategy import addresses_of, make_strategy, worker_of
from kerascnn.train.watch import Watch


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
      model: the trained model, plain Keras in float32, as it stands in `model_dir/model.keras`.
      history: a row for each epoch, as in `metrics.csv`.
      preprocessing: what its images go through.
      bundle: the exported SavedModel's folder, or None.
      files: the run's folder; None on a worker that writes none.
    """

    model: keras.Model
    history: list[dict[str, float]]
    preprocessing: data.Preprocessing
    bundle: Path | None
    files: RunDir | None


def run(
    recipe: Recipe,
    *,
    model_dir: str | os.PathLike,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    **run_flags: Any,
) -> Result:
    """Trains a recipe, or goes on with the run that `model_dir` holds; a finished one is loaded.

    Seeds Python's, NumPy's and TensorFlow's global generators on the way.

    Args:
      recipe: what to train.
      model_dir: the folder that receives everything: see `kerascnn.train.run_dir`. Workers share it.
      callbacks: Keras's or others', of which `on_train_begin`, `on_epoch_begin`, `on_epoch_end` and `on_train_end` are
        called on worker 0, with the model and logs such as `val_accuracy`. One may set `model.stop_training`.
      run_flags: fields of `kerascnn.train.recipe.RunFlags`, as in `strategy="mirrored", seed=1`.

    Raises:
      WrongInput: a name, a value or a folder that cannot be used; nothing was changed.
      Interrupted: Ctrl-C or SIGTERM came; everything is saved.
      Diverged: the loss is no longer a number, or has stayed high.
      BadData: an element cannot be used, or too many cannot; the checkpoints before are whole.
      LostWorker: another worker is gone; the checkpoints before are whole.
      OSError: a file could not be written; the older checkpoints are whole.
    """
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        with _wrong_input():
            unknown = run_flags.keys() - {field.name for field in dataclasses.fields(RunFlags)}
            if unknown:
                raise ValueError(f"run has no {', '.join(sorted(unknown))}: see kerascnn.train.recipe.RunFlags.")
            flags = RunFlags(**run_flags, model_dir=os.fspath(model_dir))
            if keras.backend.backend() != "tensorflow":
                raise ValueError(f"training runs on TensorFlow, not {keras.backend.backend()}: unset KERAS_BACKEND.")
            strategy = make_strategy(
                flags.strategy, workers=flags.workers, worker_index=flags.worker_index, tpu=flags.tpu
            )
            stack.enter_context(_explained(strategy))
            folder = RunDir(Path(model_dir))
            if worker_of(strategy)[0] == 0:
                stack.enter_context(folder.lock())
            folder.check(recipe)
            inputs = Inputs(
                recipe,
                folder,
                data_dir=flags.data_dir,
                cache=flags.cache,
                on_corrupt=flags.on_corrupt,
                data_service=flags.data_service,
            )
            state = State(recipe, flags, folder, inputs, strategy)
            state.resume(flags.resume)
            state.check_workers()
        if state.finished and state.at_end():
            if state.worker == 0:
                print(_finished_before(state))
            model = load_model(folder.model)
        else:
            record: dict[str, Any] = {}
            if state.worker == 0:
                inputs.preprocessing.save(folder.preprocessing)
                record = folder.write_recipe(recipe, flags)
            if state.step and state.worker == 0:
                print(f"Resuming {folder.path} after step {state.step}, {state.epoch} of {recipe.epochs} epochs.")
            train(state, interrupt, callbacks)
            model = finish(state, record)
            state.save(finished=True)
        bundle = None
        if flags.export_dir and state.worker == 0:
            bundle = serve.export(
                model,
                flags.export_dir,
                inputs.preprocessing,
                source=inputs.source,
                split=recipe.test_split,
                facts=card.of_run(folder.path),
            )
    return Result(model, state.history, inputs.preprocessing, bundle, folder if state.worker == 0 else None)


def _finished_before(state):
    if state.course.ended:
        return f"Finished before: {state.folder.path} ended early, after {state.epoch} epochs, and stays as it is."
    return f"Finished before: {state.folder.path} holds all {state.epoch} epochs. More --epochs go on from there."


def train(state: State, interrupt: Interrupt, callbacks: Iterable[keras.callbacks.Callback] = ()) -> None:
    """Goes from where a run is to the end of its last epoch, with an evaluation and a checkpoint after each.

    A run that diverges goes back to its last checkpoint and on at half the rate, where its flags want that.
    """
    told = keras.callbacks.CallbackList(
        list(callbacks) if state.worker == 0 else [], model=state.model, epochs=state.recipe.epochs
    )
    state.model.stop_training, state.model.optimizer = False, state.update.optimizer
    told.on_train_begin()
    if not state.step:
        state.take_first_values()
    can_go_back = state.flags.on_divergence == "rollback"
    if can_go_back and not state.step:
        state.save()
    train_to, evaluate = _Training(state, interrupt), _make_evaluations(state, interrupt)
    while not state.at_end():
        try:
            _train_on(state, train_to, evaluate, told)
        except Diverged as error:
            rollbacks = state.course.rollbacks + 1
            if not can_go_back or rollbacks > ROLLBACKS:
                raise Diverged(f"{error} {ADVICE}") from None
            state.resume()
            state.course.rollbacks = rollbacks
            state.rate_factor.assign(state.course.rate_factor())
            state.save()
            if state.worker == 0:
                share = state.course.rate_factor()
                console.note(f"{error} Going back to step {state.step}, and on at {share:g} of the rate.")
    told.on_train_end(_logs(state.history[-1]))


def _train_on(state, train_to, evaluate, told):
    """Trains to the end of the last epoch."""
    started = time.perf_counter()
    seconds_before = state.history[-1]["seconds"] if state.history else 0.0
    if state.objective.automatic and not state.step:
        first = next(_train_batches(state))
        measure(state.objective, state.strategy, state.model, first, state.inputs.preprocessing.normalise)
    batches = _train_batches(state)
    with Watch(state) as watch:
        while not state.at_end():
            epoch = state.epoch + 1
            _tell(state, told.on_epoch_begin, epoch - 1)
            train_to(epoch * state.steps_per_epoch, batches, watch)
            loss, accuracy = metrics.means(state.totals)
            row = {
                "epoch": epoch,
                "step": state.step,
                "learning_rate": state.rate(),
                "train_loss": loss,
                "train_accuracy": accuracy,
                **evaluate(),
                **train_to.speed(),
                "seconds": seconds_before + time.perf_counter() - started,
            }
            _tell(state, told.on_epoch_end, epoch - 1, _logs(row))
            state.end_epoch(row, stop=bool(state.model.stop_training))
            watch.epoch(row)


def _tell(state, method, *arguments):
    """Tells callbacks. They find the next step's rate where they look for it, and may not change it there."""
    rate = state.model.optimizer.learning_rate
    rate.assign(state.rate())
    before = float(rate.numpy())
    method(*arguments)
    if float(rate.numpy()) != before:
        raise ValueError("a callback has set the learning rate, which is the recipe's schedule's to set: use that.")


class _Training:
    """Training steps up to a given one; called again and again, it goes on."""

    def __init__(self, state: State, interrupt: Interrupt):
        self._state, self._interrupt = state, interrupt
        self._probe = Probe(state.model) if state.flags.watch_every else None
        self._steps = self._compiled(None)
        self._looks = self._compiled(self._probe)
        self._unsaved, self._seconds, self._waited = 0.0, 0.0, 0.0

    def _compiled(self, probe):
        step, part = make_step(self._state, probe)
        return Steps(
            self._state.strategy,
            step,
            width=3 + (len(probe.names) if probe else 0),
            part=part,
            parts=self._state.recipe.accumulate,
            signals=SIGNALS,
        )

    def __call__(self, end: int, batches: Iterator, watch: Watch) -> None:
        state, every = self._state, self._state.flags.watch_every
        while state.step < end:
            probe = self._probe if every and state.step % every == 0 else None
            stop = min(end, state.step - state.step % every + every) if every else end
            steps, count = (self._looks, 1) if probe else (self._steps, stop - state.step)
            for call in steps(batches, count, first=state.step, asked=lambda: self._interrupt.signal):
                _stop_if_asked(state, call, self._interrupt)
                state.course.after_steps(call.losses, state.step)
                state.step += call.count
                state.totals += call.sums[:3]
                self._seconds, self._waited = self._seconds + call.seconds, self._waited + call.waited * call.seconds
                watch.call(call)
                if probe:
                    watch.look(probe, call.sums[3:] / state.replicas)
                self._unsaved += call.seconds  # the same on every worker
                if self._unsaved > 60 * state.flags.checkpoint_minutes and not state.course.high:
                    state.save()
                    self._unsaved = 0.0

    def speed(self) -> dict[str, float]:
        """Columns of `metrics.csv`, since this was last asked."""
        waited = self._waited / self._seconds if self._seconds else float("nan")
        self._seconds, self._waited = 0.0, 0.0
        return {"images_per_second": self._steps.per_second() * self._state.recipe.batch_size, "input_wait": waited}


def _make_evaluations(state, interrupt):
    """A function that gives the columns of `metrics.csv` about the test split: of the model, and of the average."""
    average = state.average
    models = {"test": state.model} | ({"average": average.twin} if average else {})
    evaluations = {name: make_evaluate(state, model, interrupt) for name, model in models.items()}
    normalise = state.inputs.preprocessing.normalise
    reestimate = make_reestimate(state.strategy, average.twin, normalise) if average else None

    def evaluate() -> dict[str, float]:
        if average:
            average.end_of_epoch(state.epoch + 1, state.recipe.epochs)
            if average.spec.bn_batches and average.count.numpy():
                reestimate(_train_batches(state), average.spec.bn_batches)
        row = {}
        for name, evaluated in evaluations.items():
            row[f"{name}_loss"], row[f"{name}_accuracy"] = metrics.means(evaluated())
        return row

    return evaluate


def make_evaluate(state: State, model: keras.Model, interrupt: Interrupt) -> Callable[[], np.ndarray]:
    """A function that gives a model's `metrics.sums` over the test split, on any number of replicas and workers.

    Each example counts once. A run that is asked to stop meanwhile saves itself and raises `Interrupted`.
    """
    size, batch_size = state.inputs.source.size(state.recipe.test_split), state.recipe.batch_size
    batch_size //= state.recipe.accumulate  # what the memory holds
    steps = Steps(state.strategy, make_test_step(state, model), signals=SIGNALS)
    batches = _distribute(
        state, batch_size, lambda shard: state.inputs.test_batches(batch_size=batch_size, shard=shard)
    )

    def evaluate() -> np.ndarray:
        totals = np.zeros(3)
        for call in steps(iter(batches), -(-size // batch_size), asked=lambda: interrupt.signal):
            totals += call.sums
            _stop_if_asked(state, call, interrupt)
        return totals

    return evaluate


def plot_schedule(recipe: Recipe, path: str | os.PathLike, *, data_dir: str | os.PathLike | None = None) -> None:
    """Draws the learning rate of a recipe over its epochs into a PNG file; trains nothing.

    Raises:
      WrongInput: a name or a value that cannot be used, or a file that cannot be written.
    """
    with _wrong_input():
        steps = steps_per_epoch(data.open_source(recipe.data, data_dir), recipe.train_split, recipe.batch_size)
        plot(schedule_of(recipe, steps), path, steps_per_epoch=steps, epochs=recipe.epochs)


def _train_batches(state):
    """The distributed iterator of training batches from the next step on; where a batch has parts, it gives these."""
    step, seed = state.step, state.flags.seed
    return iter(
        _distribute(
            state,
            state.inputs.step_size,
            lambda shard: state.inputs.train_batches(seed=seed, start_step=step, shard=shard),
            parts=state.recipe.accumulate,
        )
    )


def _distribute(state, size, make, parts=1):
    """The batches of `size` that `make` gives for a shard, each shared out among its replicas in its order."""
    share = size // (state.replicas * parts)
    return state.strategy.distribute_datasets_from_function(
        lambda context: (
            make((context.input_pipeline_id, context.num_input_pipelines)).rebatch(share)
            if state.replicas * parts > state.workers
            else make((context.input_pipeline_id, context.num_input_pipelines))
        )
    )


def _stop_if_asked(state, call, interrupt):
    """All workers stop where one of them was asked to."""
    if not call.stop.any():
        return
    state.save()
    raise Interrupted(
        interrupt.signal or next(number for number, workers in zip(SIGNALS, call.stop, strict=True) if workers),
        f"Stopped after step {state.step}, saved in {state.folder.path}. The same command goes on from there.",
    )


def _logs(row):
    """A row of `metrics.csv` by the names that Keras's callbacks know, which are told the epoch beside it."""
    return {key.replace("train_", "").replace("test_", "val_"): value for key, value in row.items() if key != "epoch"}


@contextlib.contextmanager
def _wrong_input() -> Iterator[None]:
    """What fails while a run is prepared is the input's fault, and has changed nothing yet."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise WrongInput(str(error)) from error


@contextlib.contextmanager
def _explained(strategy) -> Iterator[None]:
    """What the pipeline found wrong, or a worker that is gone, comes as an error of TensorFlow, with much around it."""
    try:
        yield
    except tf.errors.OpError as error:
        if what := explanation(error):
            raise BadData(what) from error
        if what := explain_lost_worker(error, addresses_of(strategy)):
            raise LostWorker(what) from error
        raise
