"""A source is opened by name, tells what it holds, and gives its elements in an order that never changes."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from kerascnn.data import open_source


class TinyAges(tfds.core.GeneratorBasedBuilder):
    """Images with a number that is no class."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="supervised"), tfds.core.BuilderConfig(name="not_supervised"))

    def _info(self):
        features = {"image": tfds.features.Image(shape=(2, 2, 1)), "age": np.int64}
        keys = ("image", "age") if self.builder_config.name == "supervised" else None
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=keys)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"image": np.zeros([2, 2, 1], np.uint8), "age": 7}


def elements(source, split):
    return [(encoded.numpy(), int(label)) for encoded, label in source.dataset(split)]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("digitz", ValueError, r"no data source 'digitz': give 'digits' \(built in\) or 'tfds:NAME'"),
        ("", ValueError, r"no data source ''"),
        ("tfds:no_such_data", ValueError, r"knows no data set 'no_such_data'"),
        ("tfds:", ValueError, r"tfds: cannot be opened"),
        ("tfds:../digits", ValueError, r"tfds:\.\./digits cannot be opened"),
        ("tfds:cifar10:9.9.9", ValueError, r"cannot be opened.*only: 3\.0\.2"),
        ("tfds:cifar10/no_config", ValueError, r"cannot be opened.*BuilderConfig no_config not found"),
        ("tfds:cifar10", FileNotFoundError, r"tfds:cifar10 is not prepared in .*: tfds build cifar10 --data_dir=\S+$"),
    ],
)
def test_what_cannot_be_opened(name, kind, message, data_dir, caplog):
    with pytest.raises(kind, match=rf"(?s){message}"):
        open_source(name, data_dir)
    assert not caplog.records


@pytest.mark.parametrize("config", ["supervised", "not_supervised"])
def test_only_single_images_with_one_class_each(config, data_dir):
    TinyAges(config=config, data_dir=data_dir).download_and_prepare()
    with pytest.raises(ValueError, match=rf"tfds:tiny_ages/{config} is not a data set of single images with one class"):
        open_source(f"tfds:tiny_ages/{config}", data_dir)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("validation", r"digits has no split 'validation'; it has train, test\."),
        ("", r"digits has no split ''; it has train, test\."),
        ("train+validation", r"validation.*train.*test"),
        ("train[:0]", r"digits train\[:0\] has no elements"),
        ("train[9:3]", r"digits train\[9:3\] has no elements"),
        ("train[:9999]", r"\[:9999\].*1437"),
        ("train[", r"train\["),
    ],
)
@pytest.mark.parametrize("method", ["size", "nbytes", "dataset"])
def test_a_split_that_is_not_there(method, split, message, digits):
    with pytest.raises(ValueError, match=message):
        getattr(digits, method)(split)


@pytest.mark.parametrize(
    ("split", "size"),
    [("train", 1437), ("test", 360), ("train[:16]", 16), ("train[-3:]", 3), ("test[50%:]", 180), ("train+test", 1797)],
)
def test_slices(split, size, digits):
    assert digits.size(split) == size == len(elements(digits, split))
    share = size / (360 if split.startswith("test") else 1437)
    whole = digits.builder.info.splits[split[:5].strip("[+")].num_bytes
    assert digits.nbytes(split) == pytest.approx(share * whole, rel=0.01)


def test_slices_follow_the_order_of_the_split(digits):
    whole = elements(digits, "train")
    assert elements(digits, "train[100:140]") == whole[100:140]
    assert elements(digits, "train[-5:]") == whole[-5:]


def test_the_order_is_always_the_same(digits, photos, data_dir):
    for source, split in [(digits, "test"), (photos, "train")]:
        first = elements(source, split)
        assert elements(source, split) == first == elements(open_source(source.name, data_dir), split)


def test_the_digits_are_a_tfds_data_set_too(digits, data_dir):
    again = open_source("tfds:digits", data_dir)
    assert elements(again, "test") == elements(digits, "test")


def test_a_path_object_is_a_data_dir_too(data_dir):
    assert repr(open_source("digits", str(data_dir))) == repr(open_source("digits", data_dir))


def test_photographs_of_different_sizes(photos):
    assert photos.name == "tfds:tiny_photos"
    assert photos.class_names == ("cat", "dog")
    assert photos.image_shape == (None, None, 3) and photos.channels == 3
    assert (photos.size("train"), photos.size("validation")) == (14, 6)
    files = [PIL.Image.open(io.BytesIO(encoded)) for encoded, _ in elements(photos, "train")]
    assert {file.format for file in files} == {"JPEG"}
    assert len({file.size for file in files}) > 5
    assert sorted(label for _, label in elements(photos, "train")) == [0] * 7 + [1] * 7
