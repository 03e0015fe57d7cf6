"""From a trained model to a folder that TensorFlow Serving loads."""

from kerascnn.serve.bundle import export as export
from kerascnn.serve.folding import fold as fold
