import io

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from kerascnn.data import open_source


def photo(index):
    """A colour image of a size of its own."""
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, 256, [3 + index % 4, 4, 3], np.uint8)
    return np.kron(coarse, np.ones([9, 7 + index % 5, 1], np.uint8))


class TinyPhotos(tfds.core.GeneratorBasedBuilder):
    """Twenty JPEGs of different sizes, in two classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
        label = tfds.features.ClassLabel(names=["cat", "dog"])
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(14)), "validation": self._generate_examples(range(14, 20))}

    def _generate_examples(self, indices):
        for index in indices:
            yield index, {"image": photo(index), "label": index % 2}


@pytest.fixture(scope="session")
def digits(data_dir):
    return open_source("digits", data_dir)


@pytest.fixture(scope="session")
def photos(data_dir):
    """The source of `TinyPhotos`, which TFDS has shuffled when it wrote them."""
    TinyPhotos(data_dir=data_dir).download_and_prepare()
    return open_source("tfds:tiny_photos", data_dir)


def jpeg(index):
    """`photo` as a file."""
    file = io.BytesIO()
    PIL.Image.fromarray(photo(index)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def photo_folder(tmp_path):
    """Sixteen photographs in `train/` and four in `val/`, of cats and dogs by turns."""
    for index in range(20):
        folder = tmp_path / "photos" / ("val" if index >= 16 else "train") / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:02}.JPEG").write_bytes(jpeg(index))
    return tmp_path / "photos"
