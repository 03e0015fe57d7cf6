"""The training loop: one compiled function over `tf.distribute`, called again and again.

Not Keras's `fit`: that averages metrics over replicas, which is wrong for a partial batch, and does not run on many
machines. What is trained is a plain Keras model all the same.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerascnn import data, serve
from kerascnn.data.lost import explanation
from kerascnn.evaluate import metrics
from kerascnn.models import load_model
from kerascnn.train.finish import finish
from kerascnn.train.inputs import Inputs
from kerascnn.train.interrupt import Interrupt, Interrupted
from kerascnn.train.optimizers import apply_gradients
from kerascnn.train.recipe import BadData, Diverged, Recipe, WrongInput
from kerascnn.train.run_dir import RunDir
from kerascnn.train.state import State
from kerascnn.train.steps import Steps
from kerascnn.train.watch import Watch


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
      model: the trained model, plain Keras in float32, as it stands in `model_dir/model.keras`.
      history: a row for each epoch, as in `metrics.csv`.
      preprocessing: what its images go through.
      bundle: the exported SavedModel's folder, or None.
    """

    model: keras.Model
    history: list[dict[str, float]]
    preprocessing: data.Preprocessing
    bundle: Path | None


def run(
    recipe: Recipe,
    *,
    model_dir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    strategy: str = "one_device",
    precision: str = "float32",
    export_dir: str | os.PathLike | None = None,
    seed: int = 0,
    cache: str | None = None,
    on_corrupt: str = "error",
    data_service: str | None = None,
) -> Result:
    """Trains a recipe, or goes on with the run that `model_dir` holds; a finished one is loaded.

    Seeds Python's, NumPy's and TensorFlow's global generators on the way.

    Args:
      recipe: what to train.
      model_dir: the folder that receives everything: see `kerascnn.train.run_dir`.
      The others: as in `kerascnn.train.recipe.RunFlags`.

    Raises:
      WrongInput: a name, a value or a folder that cannot be used; nothing was changed.
      Interrupted: Ctrl-C or SIGTERM came; everything is saved.
      Diverged: the loss is no longer a number.
      BadData: an element cannot be used, or too many cannot; the checkpoints before are whole.
      OSError: a file could not be written; the older checkpoints are whole.
    """
    flags = {
        "data_dir": data_dir,
        "strategy": strategy,
        "precision": precision,
        "export_dir": export_dir,
        "seed": seed,
        "cache": cache,
        "on_corrupt": on_corrupt,
        "data_service": data_service,
    }
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        stack.enter_context(_bad_data())
        with _wrong_input():
            if keras.backend.backend() != "tensorflow":
                raise ValueError(f"training runs on TensorFlow, not {keras.backend.backend()}: unset KERAS_BACKEND.")
            folder = RunDir(Path(model_dir))
            stack.enter_context(folder.lock())
            folder.check(recipe)
            inputs = Inputs(
                recipe, folder, data_dir=data_dir, cache=cache, on_corrupt=on_corrupt, data_service=data_service
            )
            state = State(recipe, folder, inputs, strategy=strategy, precision=precision, seed=seed)
            state.resume()
        inputs.preprocessing.save(folder.preprocessing)
        record = folder.write_recipe(recipe, flags)
        if state.epoch == recipe.epochs:
            print(f"Finished before: {folder.path} holds all {recipe.epochs} epochs. More --epochs go on from there.")
            model = load_model(folder.model)
        else:
            if state.step:
                print(f"Resuming {folder.path} after step {state.step}, {state.epoch} of {recipe.epochs} epochs.")
            train(state, interrupt)
            model = finish(state, record)
            state.totals = np.zeros(3)
            state.save(epoch=recipe.epochs)
        bundle = serve.export(model, export_dir, inputs.preprocessing) if export_dir else None
    return Result(model, state.history, inputs.preprocessing, bundle)


def train(state: State, interrupt: Interrupt) -> None:
    """Goes from where a run is to the end of its last epoch, with an evaluation and a checkpoint after each."""
    recipe, started = state.recipe, time.perf_counter()
    seconds_before = state.history[-1]["seconds"] if state.history else 0.0
    steps = Steps(state.strategy, lambda *batch: _train_step(state, *batch))
    evaluate = make_evaluate(state)
    batches = iter(
        _distribute(
            state,
            state.inputs.step_size,
            lambda shard: state.inputs.train_batches(seed=state.seed, start_step=state.step, shard=shard),
        )
    )
    with Watch(
        images=recipe.epochs * state.steps_per_epoch * recipe.batch_size,
        done=state.step * recipe.batch_size,
        epochs=recipe.epochs,
        log_dir=state.folder.tensorboard,
    ) as watch:
        for epoch in range(state.epoch + 1, recipe.epochs + 1):
            for count, sums in steps(batches, epoch * state.steps_per_epoch - state.step):
                state.step += count
                state.totals += sums
                loss, accuracy = metrics.means(state.totals)
                watch.images(count * recipe.batch_size, epoch=epoch, loss=loss, accuracy=accuracy, rate=state.rate())
                if not np.isfinite(loss):
                    raise Diverged(
                        f"the loss is {loss} by step {state.step}. Try a lower --learning_rate or more "
                        f"--warmup_epochs, in another --model_dir; {state.folder.path} keeps what was before."
                    )
                _stop_if_asked(state, interrupt)
            loss, accuracy = metrics.means(state.totals)
            test_loss, test_accuracy = metrics.means(evaluate(lambda: _stop_if_asked(state, interrupt)))
            row = {
                "epoch": epoch,
                "step": state.step,
                "learning_rate": state.rate(),
                "train_loss": loss,
                "train_accuracy": accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "images_per_second": steps.per_second() * recipe.batch_size,
                "seconds": seconds_before + time.perf_counter() - started,
            }
            watch.epoch(row)
            state.history.append(row)
            state.folder.write_metrics(state.history)
            if epoch < recipe.epochs:
                state.totals = np.zeros(3)
                state.save(epoch=epoch)
            else:  # the run's last epoch is done when its model and report are written, too
                state.save(epoch=epoch - 1)


def make_evaluate(state: State) -> Callable[..., np.ndarray]:
    """A function that gives `metrics.sums` over the test split, each example counted once on any number of replicas.

    It takes a function to call now and then, which may raise to stop.
    """
    size, batch_size = state.inputs.source.size(state.recipe.test_split), state.recipe.batch_size
    steps = Steps(state.strategy, lambda *batch: _test_step(state, *batch))
    batches = _distribute(state, batch_size, lambda _: state.inputs.test_batches())

    def evaluate(between: Callable[[], None] = lambda: None) -> np.ndarray:
        totals = np.zeros(3)
        for _, sums in steps(iter(batches), -(-size // batch_size)):
            totals += sums
            between()
        return totals

    return evaluate


def _train_step(state, images, labels):
    """One replica's share of a step."""
    variables = state.model.trainable_variables
    with tf.GradientTape() as tape:
        logits = state.model(state.inputs.preprocessing.normalise(images), training=True)
        losses = metrics.cross_entropy(labels, logits, state.recipe.label_smoothing)
        # The mean over the global batch: replicas add their shares up.
        loss = tf.reduce_sum(losses) / state.inputs.step_size * state.loss_scale.scale
    gradients = tape.gradient(loss, variables)
    apply_gradients(state.optimizer, state.loss_scale, gradients, variables, state.recipe.weight_decay)
    return metrics.sums(labels, logits, losses)


def _test_step(state, images, labels, weights):
    logits = state.model(state.inputs.preprocessing.normalise(images), training=False)
    return metrics.sums(labels, logits, metrics.cross_entropy(labels, logits), weights)


def _distribute(state, size, make):
    """The batches of `size` that `make` gives for a shard, each shared out among the replicas in its order."""
    share = size // state.replicas
    return state.strategy.distribute_datasets_from_function(
        lambda context: (
            make((context.input_pipeline_id, context.num_input_pipelines)).rebatch(share)
            if state.replicas > 1
            else make((0, 1))
        )
    )


def _stop_if_asked(state, interrupt):
    if interrupt.signal is not None:
        state.save(epoch=state.epoch)
        raise Interrupted(
            interrupt.signal,
            f"Stopped after step {state.step}, saved in {state.folder.path}. The same command goes on from there.",
        )


@contextlib.contextmanager
def _wrong_input() -> Iterator[None]:
    """What fails while a run is prepared is the input's fault, and has changed nothing yet."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise WrongInput(str(error)) from error


@contextlib.contextmanager
def _bad_data() -> Iterator[None]:
    """What the pipeline found wrong with an element comes as an error of TensorFlow, with much around it."""
    try:
        yield
    except tf.errors.OpError as error:
        if (what := explanation(error)) is None:
            raise
        raise BadData(what) from error
