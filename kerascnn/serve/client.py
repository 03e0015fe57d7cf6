"""Classifying image files with a bundle: TensorFlow alone, no Keras model is built."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from kerascnn.serve import trust as trusted

BATCH = 64
BROKEN = "not a whole PNG or JPEG image"
Answer = list[tuple[str, float]] | str  # (class, score) best first; or what is wrong


def open_bundle(bundle: str | os.PathLike, *, trust: bool = False):
    """The `serving_default` function of a bundle: of the highest version in the folder, or of the version that it is.

    Args:
      bundle: the folder of all versions, or of one.
      trust: loads a graph that can do more than compute, too; see `kerascnn.serve.trust`.

    Raises:
      ValueError: there is no SavedModel with the signature of ours, or it is damaged or not trusted.
      OSError: the folder cannot be read.
    """
    advice = "give the folder that --export_dir named, or one of its versions."
    folder = Path(bundle)
    if not _is_saved_model(folder):
        versions = [p for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []
        versions = sorted(filter(_is_saved_model, versions), key=lambda path: int(path.name))
        if not versions:
            raise ValueError(f"{bundle} holds no bundle: {advice}")
        folder = versions[-1]
    trusted.check(folder, trust=trust)
    try:
        serve = tf.saved_model.load(str(folder)).signatures.get("serving_default")
    except Exception as error:  # TensorFlow raises whatever it stumbles over
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder} cannot be loaded, export it anew: {reason}") from error
    if (
        not serve
        or "image_bytes" not in serve.structured_input_signature[1]
        or not {"classes", "scores"} <= set(serve.structured_outputs)
    ):
        raise ValueError(f"{folder} is a SavedModel, but does not go from image files to classes: {advice}")
    return serve


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def classify(serve, paths: Sequence[str]) -> Iterator[tuple[str, Answer]]:
    """The answer for each file, in order.

    One that is broken does not keep the others from their answers, whether the bundle flags it or refuses the batch.
    """
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        contents: dict[str, bytes] = {}
        answers: dict[str, Answer] = {}
        for path in batch:
            try:
                contents[path] = Path(path).read_bytes()
            except OSError as error:
                answers[path] = error.strerror or str(error)
        try:
            answers |= _answers(serve, contents)
        except tf.errors.InvalidArgumentError:  # at least one is broken: find out which
            for path, content in contents.items():
                try:
                    answers |= _answers(serve, {path: content})
                except tf.errors.InvalidArgumentError:
                    answers[path] = BROKEN
        for path in batch:
            yield path, answers[path]


def _answers(serve, contents: dict[str, bytes]) -> dict[str, Answer]:
    if not contents:
        return {}
    outputs = serve(image_bytes=tf.constant(list(contents.values())))
    names, scores = outputs["classes"].numpy(), outputs["scores"].numpy()
    valid = outputs["valid"].numpy() if "valid" in outputs else [True] * len(names)
    return {
        path: [(name.decode(), float(score)) for name, score in zip(*row, strict=True)] if good else BROKEN
        for path, good, *row in zip(contents, valid, names, scores, strict=True)
    }
