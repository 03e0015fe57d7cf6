"""Classifying image files with a bundle: TensorFlow alone, no Keras model is built."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

BATCH = 64


def open_bundle(bundle: str | os.PathLike):
    """The `serving_default` function of a bundle: of the highest version in the folder, or of the version that it is.

    Raises:
      ValueError: there is no SavedModel with the signature of ours.
      OSError: the folder cannot be read.
    """
    advice = "give the folder that --export_dir named, or one of its versions."
    folder = Path(bundle)
    if not _is_saved_model(folder):
        versions = [p for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []
        folder = max(filter(_is_saved_model, versions), key=lambda path: int(path.name), default=None)
    if not folder:
        raise ValueError(f"{bundle} holds no bundle: {advice}")
    try:
        serve = tf.saved_model.load(str(folder)).signatures.get("serving_default")
    except Exception as error:  # TensorFlow raises whatever it stumbles over
        raise ValueError(f"{folder} is damaged, export it anew: {error}") from error
    if (
        not serve
        or "image_bytes" not in serve.structured_input_signature[1]
        or not {"classes", "scores"} <= set(serve.structured_outputs)
    ):
        raise ValueError(f"{folder} is a SavedModel, but does not go from image files to classes: {advice}")
    return serve


def _is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def classify(serve, paths: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, float]] | str]]:
    """For each file, in order: (path, [(class, score), ...] best first), or (path, what is wrong with it).

    One that is broken does not keep the others from their answers.
    """
    for start in range(0, len(paths), BATCH):
        read = {path: _read(path) for path in paths[start : start + BATCH]}
        good = {path: content for path, content in read.items() if isinstance(content, bytes)}
        try:
            answers = _answers(serve, good)
        except tf.errors.InvalidArgumentError:  # at least one is broken: find out which
            answers = {}
            for path, content in good.items():
                try:
                    answers |= _answers(serve, {path: content})
                except tf.errors.InvalidArgumentError:
                    read[path] = "not a whole PNG or JPEG image"
        for path in paths[start : start + BATCH]:
            yield path, answers.get(path, read[path])


def _read(path: str) -> bytes | str:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        return error.strerror or str(error)


def _answers(serve, contents: dict[str, bytes]) -> dict[str, list[tuple[str, float]]]:
    if not contents:
        return {}
    outputs = serve(image_bytes=tf.constant(list(contents.values())))
    classes, scores = outputs["classes"].numpy(), outputs["scores"].numpy()
    return {
        path: [(name.decode(), float(score)) for name, score in zip(*rows, strict=True)]
        for path, *rows in zip(contents, classes, scores, strict=True)
    }
