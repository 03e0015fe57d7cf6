"""The end of a run: the trained model as a plain file, and the report."""

import os
from typing import Any

import keras
import numpy as np

from kerascnn import report
from kerascnn.counting import complexity
from kerascnn.evaluate import metrics
from kerascnn.evaluate.predictions import predict, worst_mistakes
from kerascnn.train import probe
from kerascnn.train.state import State
from kerascnn.train.strategy import dtype_policy


def finish(state: State, record: dict) -> keras.Model:
    """Writes `model.keras`, `result.json` and `report.html` of a run that has done its steps, and returns the model.

    The model is a new one in float32 with the trained weights, or with their average where the recipe wants one:
    nothing of strategies, precisions or auxiliary classifiers stays in it.

    Args:
      state: at the end of the last epoch. Only worker 0 writes.
      record: what stands in `recipe.json`.
    """
    recipe, folder, source = state.recipe, state.folder, state.inputs.source
    row = state.history[-1]
    if recipe.restore_best and state.course.best_epoch:
        state.restore_best()
        row = state.history[state.course.best_epoch - 1]
    trained = state.average.twin if state.average else state.model
    with dtype_policy("float32"):
        # Auxiliary classifiers have done their work: nobody is to evaluate or serve them.
        overrides: dict[str, Any] = {"include_aux": False} if len(trained.outputs) > 1 else {}
        model = state.create_model(**overrides)
    for layer in model.layers:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
    if state.worker:
        return model
    temporary = folder.path / "writing.keras"
    model.save(temporary)
    os.replace(temporary, folder.model)
    seconds = state.history[-1]["seconds"]
    folder.write_result(row, seconds=seconds, parameters=model.count_params(), macs=complexity(model).macs)

    preprocessing = state.inputs.preprocessing
    lost = state.inputs.test_lost
    index, labels, logits = predict(
        model, source, recipe.test_split, preprocessing, recipe.batch_size, lost, recipe.tta
    )
    predicted = logits.argmax(-1)
    last = state.history[-1]
    report.training_report(
        folder.report,
        title=f"{recipe.model} on {recipe.data}",
        subtitle=f"{row['epoch']:.0f} epochs, seed {state.flags.seed}",
        summary={
            "Test accuracy": f"{np.mean(predicted == labels):.2%}",
            "Test loss": f"{float(metrics.cross_entropy(labels, logits).numpy().mean()):.4f}",
            "Mistakes": f"{np.sum(predicted != labels)} of {len(labels)}",
            "Training time": f"{last['seconds']:.0f} s",
            "Images a second": f"{last['images_per_second']:,.0f}",
            "Parameters": f"{model.count_params():,}",
        },
        history=state.history,
        confusion=metrics.confusion(labels, predicted, len(source.class_names)),
        class_names=source.class_names,
        mistakes=worst_mistakes(source, recipe.test_split, preprocessing, index, labels, logits),
        recipe=record,
        lost=state.inputs.lost(),
        watched=probe.read_rows(folder.watched, state.step) if folder.watched.exists() else None,
    )
    return model
