"""What stands beside the SavedModel for people and servers: a model card, and configurations of TensorFlow Serving."""

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

# The public image of TensorFlow Serving (https://hub.docker.com/r/tensorflow/serving).
IMAGE = "tensorflow/serving:2.20.0"

TIMEOUT_MICROS = 2_000  # how long a server may wait for more images to compute together
MAX_QUEUED_BATCHES = 64

README = """\
# {{ name }}

{{ title }}, as a SavedModel for TensorFlow Serving and whatever else loads one.
Decoding, cropping, resizing and normalising are inside.

## What it is

| | |
|---|---|
{% for key, value in facts.items() -%}
| {{ key }} | {{ value }} |
{% endfor %}
Classes: {{ class_names }}.

## How near it is to the model that it was made from

Compared on {{ parity.reference }}. The difference is the largest of any logit, in standard deviations of all logits;
"same best class" is the share of images. Below the last column's share nothing would have been written.

| file | precision | size | difference | same best class | at least |
|---|---|---|---|---|---|
{% for file, row in parity.files.items() -%}
| {{ file }} | {{ row.precision }} | {{ size(row.bytes) }} | {{ "%.1e" % row.max_difference }} | \
{{ "%.2f" % (100 * row.top1_agreement) }} % | {{ "%.2f" % (100 * row.min_agreement) }} % |
{% endfor %}
## What it answers to

| signature | takes | gives |
|---|---|---|
{% for row in signatures -%}
| `{{ row.name }}` | {{ row.takes }} | {{ row.gives }} |
{% endfor %}
`image_bytes` are whole JPEG, PNG, GIF (its first frame) or BMP files; `images` are pixels, all images of a batch of one
size; `inputs` are images of {{ width }}x{{ height }} that are normalised already, as `preprocessing.json` says.
The best class comes first.
{% if not has_features %}
There is no signature `features`: the model has no fully connected layer whose input could be one.
{% endif %}
{% if flags -%}
An image that cannot be decoded has `valid` false, scores or features of 0 and no class names; the others of its batch
are answered.
{%- else -%}
An image that cannot be decoded is an error (INVALID_ARGUMENT) for the whole batch, which says its place. A server that
joins requests to batches answers with it to all who shared the batch: there, `kerascnn export --on_bad_image=flag` is
the better choice.
{%- endif %}

## Asking it

Where kerascnn is installed, in this folder:

```
kerascnn predict --bundle=. image.jpg
kerascnn serve --bundle=.. --name={{ name }} --port=8501
```

By HTTP, from this server or TensorFlow Serving:

```
{ printf '{"instances": [{"image_bytes": {"b64": "'; base64 < image.jpg | tr -d '\\n'; printf '"}}]}'; } |
  curl --fail-with-body --data-binary @- http://localhost:8501/v1/models/{{ name }}:predict
```

By gRPC, from TensorFlow Serving, with `pip install tensorflow-serving-api`:

```python
import pathlib

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

paths = ["image.jpg"]  # up to {{ max_batch_size }}
request = predict_pb2.PredictRequest()
request.model_spec.name = "{{ name }}"
request.model_spec.signature_name = "serving_default"
request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([pathlib.Path(path).read_bytes() for path in paths]))

with grpc.insecure_channel("localhost:8500") as channel:
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=10)
classes, scores = tf.make_ndarray(answer.outputs["classes"]), tf.make_ndarray(answer.outputs["scores"])
for path, names, values in zip(paths, classes, scores):
    print(path, *(f"{label.decode()} {value:.1%}" for label, value in zip(names, values)), sep="  ")
```

## TensorFlow Serving

In this folder, with Docker:

```
docker compose up
```

It serves the highest version in the folder above, and goes over to a later one when it appears. `models.config` and
`batching.config` are what `--model_config_file` and `--batching_parameters_file` want: up to {{ max_batch_size }}
images are computed together, and no request may have more; requests of `uint8` that come together must be of one size.
`assets.extra/tf_serving_warmup_requests` has a request for each signature and for batches of {{ batch_sizes }}, which
are played before the first answer.

## What is in this folder

| | |
|---|---|
{% for file, text in files.items() -%}
| `{{ file }}` | {{ text }} |
{% endfor -%}
"""

COMPOSE = """\
services:
  serving:
    image: {{ image }}
    command:
      - --model_config_file=/config/models.config
      - --enable_batching=true
      - --batching_parameters_file=/config/batching.config
    ports:
      - "8500:8500"  # gRPC
      - "8501:8501"  # HTTP
    volumes:
      - ..:/models/{{ name }}:ro
      - ./models.config:/config/models.config:ro
      - ./batching.config:/config/batching.config:ro
    restart: unless-stopped
"""

MODELS = """\
model_config_list {
  config {
    name: "{{ name }}"
    base_path: "/models/{{ name }}"
    model_platform: "tensorflow"
  }
}
"""

BATCHING = """\
max_batch_size { value: {{ max_batch_size }} }
batch_timeout_micros { value: {{ timeout }} }
max_enqueued_batches { value: {{ queued }} }
"""

FILES = {
    "saved_model.pb": "the graph, and the parameters unless they are in `variables/`",
    "variables/": "parameters that are more than a graph may hold; else nothing but its index",
    "assets/labels.txt": "the names of the classes, one a line",
    "assets.extra/tf_serving_warmup_requests": "requests for TensorFlow Serving's warm-up",
    "litert/": "for LiteRT: from `inputs` to logits",
    "onnx/": "for ONNX Runtime: from `inputs` to logits",
    "preprocessing.json": "size, crop and normalisation of images (large arrays in preprocessing.npz)",
    "parity.json": "the figures above",
    "models.config": "TensorFlow Serving's list of models",
    "batching.config": "TensorFlow Serving's batching",
    "compose.yaml": "a container with TensorFlow Serving",
}


def served_name(export_dir: str | os.PathLike) -> str:
    """What servers call the model of a folder: its name, without what would have to be quoted in an address."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(export_dir).resolve().name).strip("_.-") or "model"


def configurations(name: str, max_batch_size: int) -> dict[str, str]:
    """TensorFlow Serving's files by their names."""
    known = {
        "name": name,
        "image": IMAGE,
        "max_batch_size": max_batch_size,
        "timeout": TIMEOUT_MICROS,
        "queued": MAX_QUEUED_BATCHES,
    }
    templates = {"models.config": MODELS, "batching.config": BATCHING, "compose.yaml": COMPOSE}
    return {file: _filled(text, known) for file, text in templates.items()}


def readme(
    *,
    name: str,
    title: str,
    facts: Mapping[str, Any],
    class_names: Sequence[str],
    image_size: tuple[int, int],
    parity: Mapping[str, Any],
    signatures: Sequence[Mapping[str, str]],
    on_bad_image: str,
    max_batch_size: int,
    present: Sequence[str],
) -> str:
    """The model card.

    Args:
      name: the model's, as servers know it.
      title: the first words.
      facts: rows of the first table.
      class_names: of which the first are listed.
      image_size: (height, width) of the network's inputs.
      parity: what `parity.json` holds.
      signatures: of each its `name`, and what it `takes` and `gives`.
      on_bad_image: `error` or `flag`.
      max_batch_size: of TensorFlow Serving's configuration.
      present: what lies in the version's folder.
    """
    shown = [_cell(label) for label in class_names[:10]]
    more = len(class_names) - len(shown)
    known = {
        "name": name,
        "title": title,
        "facts": {_cell(key): _cell(value) for key, value in facts.items() if value not in (None, "")},
        "class_names": ", ".join(shown) + (f", and {more:,} more in `assets/labels.txt`" if more else ""),
        "height": image_size[0],
        "width": image_size[1],
        "parity": parity,
        "signatures": signatures,
        "has_features": any(row["name"] == "features" for row in signatures),
        "flags": on_bad_image == "flag",
        "max_batch_size": max_batch_size,
        "batch_sizes": " and ".join(map(str, sorted({1, max_batch_size}))),
        "files": {file: text for file, text in FILES.items() if file.split("/")[0] in present},
        "size": size,
    }
    return _filled(README, known)


def size(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def of_run(folder: str | os.PathLike) -> dict[str, Any]:
    """Rows of the card about a run, from its folder: what it was trained on, how well, and by which code.

    What the folder does not tell is left out.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        recipe, versions = dict(record["recipe"]), dict(record["versions"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"Run": folder}
    accuracy = _accuracy(folder / "metrics.csv", recipe.get("restore_best"))
    views = f", with tta={recipe['tta']!r}, which this bundle does not do" if recipe.get("tta") else ""
    return {
        "Run": folder,
        "Trained by": f"`{record.get('command')}`",
        "Data": recipe.get("data"),
        "Epochs": recipe.get("epochs"),
        "Accuracy": accuracy and f"{accuracy:.2%} of {recipe.get('data')}, {recipe.get('test_split')}{views}",
        "Commit": record.get("commit"),
        "Trained with": ", ".join(f"{package} {number}" for package, number in versions.items()),
    }


def _accuracy(metrics, best):
    """That of a run's model: of its last epoch or its best one, with averaged weights where there are any."""
    try:
        with open(metrics, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        row = max(rows, key=lambda row: float(row["test_accuracy"])) if best else rows[-1]
        return float(row.get("average_accuracy") or row["test_accuracy"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, csv.Error):
        return None


def of_checkpoint(checkpoint: Any) -> dict[str, Any]:
    """Rows of the card about published weights, from the catalogue's entry."""
    if checkpoint is None:
        return {}
    accuracy = checkpoint.top1 and f"{checkpoint.top1} % top-1 of ImageNet, as {checkpoint.top1_source} states"
    return {"Weights": checkpoint.source, "License": checkpoint.license, "Published accuracy": accuracy}


def _filled(template, known):
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(known)


def _cell(value):
    """A text that keeps within its cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|")
