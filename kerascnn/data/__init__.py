"""Images and labels: where they come from, what is done to them, and the pipeline that joins it all."""

from kerascnn.data.batches import pipeline as pipeline
from kerascnn.data.preprocessing import Preprocessing as Preprocessing
from kerascnn.data.preprocessing import measure as measure
from kerascnn.data.sources import Source as Source
from kerascnn.data.sources import open_source as open_source
