"""A source is opened by name, tells what it holds, and gives its elements in an order that never changes."""

import io
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerascnn.data import open_source, sources


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
        ("digitz", ValueError, r"no data source 'digitz': did you mean digits\?$"),
        ("", ValueError, r"no data source ''"),
        ("quux", ValueError, r"no data source 'quux': give 'digits' \(built in\), 'tfds:NAME'"),
        ("tfds:no_such_data", ValueError, r"knows no data set 'no_such_data'"),
        ("tfds:cifra10", ValueError, r"knows no data set 'cifra10': did you mean cifar10"),
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
        ("train[1:2", r"train\[1:2"),
        ("train[::2]", r"train\[::2\]"),
        ("train[:101%]", r"train\[:101%\]"),
        ("all[:3]", r"all\[:3\].*not support slice"),
    ],
)
@pytest.mark.parametrize("method", ["size", "nbytes", "dataset", "read", "locate", "labels"])
def test_a_split_that_is_not_there(method, split, message, digits):
    with pytest.raises(ValueError, match=message):
        getattr(digits, method)(split)


SPLITS = {
    "train": 1437,
    "test": 360,
    "train[:16]": 16,
    "train[-3:]": 3,
    "test[50%:]": 180,
    "train[33%:34%]": 15,
    "train[:-99.5%]": 7,
    "train[1_000:1_010]": 10,
    "train+test": 1797,
    "test[:3] + train[-2:]+test[2:4]": 7,
    "train[0shard]": 1437,
    "all": 1797,
}


@pytest.mark.parametrize(("split", "size"), SPLITS.items())
def test_slices_are_those_of_tfds(split, size, digits, data_dir):
    decoders = {"image": tfds.decode.SkipDecoding()}
    theirs = tfds.load("digits", split=split, data_dir=data_dir, as_supervised=True, decoders=decoders)
    assert digits.size(split) == size
    assert elements(digits, split) == [(encoded.numpy(), int(label)) for encoded, label in theirs]


def test_bytes_of_a_slice_are_its_share(digits, data_dir):
    sizes = {
        split: sum(path.stat().st_size for path in data_dir.glob(f"digits/1.0.0/*-{split}*"))
        for split in ("train", "test")
    }
    assert {split: digits.nbytes(split) for split in sizes} == sizes
    assert digits.nbytes("train[:50%]+test") == sizes["train"] * 718 // 1437 + sizes["test"]


def test_elements_have_places(digits, photos, data_dir):
    file = f"{data_dir}/digits/1.0.0/digits-test.tfrecord-00000-of-00001"
    locate = digits.locate("train[:2]+test[-2:]")
    assert locate(tf.constant(2, tf.int64)).numpy().decode() == f"{file}, record 358"
    found = [place.decode() for place in locate(tf.constant([3, 0, 1], tf.int64)).numpy()]
    assert found == [f"{file}, record 359"] + [f"{file.replace('-test', '-train')}, record {i}" for i in (0, 1)]
    assert digits.labels("train") is None and photos.labels("train[:2]+validation") is None


def test_reading_is_a_part_of_the_graph(digits, photo_folder, data_dir):
    """So that other machines can do it: here another server, which gets nothing but the graph."""
    folder = open_source(str(photo_folder))
    with tfds.testing.mock_data(num_examples=5):
        memory = open_source("tfds:cifar10", data_dir)
        memory.size("train")
    dispatcher = tf.data.experimental.service.DispatchServer()
    config = tf.data.experimental.service.WorkerConfig(dispatcher_address=dispatcher.target.partition("://")[2])
    worker = tf.data.experimental.service.WorkerServer(config)
    for source, split in [
        (digits, "test[:9]"),
        (digits, "test[:3]+train[-3:]"),
        (folder, "train+val"),
        (memory, "train"),
    ]:
        read, locate = source.read(split), source.locate(split)
        dataset = tf.data.Dataset.range(source.size(split)).map(lambda i, read=read, at=locate: (*read(i), at(i)))
        dataset = dataset.apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.OFF, dispatcher.target, max_outstanding_requests=1
            )
        )
        remote = [(encoded, int(label)) for encoded, label, _ in dataset.as_numpy_iterator()]
        assert sorted(remote) == sorted(elements(source, split))
    del worker


# ---- What TFDS has not prepared, or not in TFRecords


def test_mock_data(data_dir, tmp_path):
    with tfds.testing.mock_data(num_examples=7):
        source = open_source("tfds:cifar10", tmp_path)
        assert source.image_shape == (32, 32, 3) and len(source.class_names) == 10
        assert source.size("train") == source.size("whatever") == 7 and source.size("train[:3]+test") == 10
        found = elements(source, "train")
    assert not list(tmp_path.iterdir())
    images = [PIL.Image.open(io.BytesIO(encoded)) for encoded, _ in found]
    assert {(image.format, image.size, image.mode) for image in images} == {("PNG", (32, 32), "RGB")}
    assert source.labels("train").tolist() == [label for _, label in found] and set(source.labels("train")) <= set(
        range(10)
    )
    assert elements(source, "train[2:4]") == found[2:4]
    assert source.locate("test[2:]")(tf.constant([0, 4], tf.int64)).numpy().tolist() == [
        b"tfds:cifar10 test, element 2",
        b"tfds:cifar10 test, element 6",
    ]
    assert source.nbytes("train") == sum(len(encoded) for encoded, _ in found)
    with pytest.raises(FileNotFoundError, match="tfds:cifar10 is not prepared"):
        open_source("tfds:cifar10", tmp_path)


def test_mock_data_with_images_that_are_decoded(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [4, 32, 32, 3], np.uint8)

    def as_dataset(self, split, shuffle_files=False, **options):
        return tf.data.Dataset.from_tensor_slices({"image": pixels, "label": np.arange(4), "id": ["a"] * 4})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        found = elements(open_source("tfds:cifar10", tmp_path), "train")
    for (encoded, label), image, place in zip(found, pixels, range(4), strict=True):
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(encoded))), image)
        assert label == place


@pytest.fixture
def bare(data_dir, tmp_path):
    """What TFDS knows of the prepared digits, without their files."""
    (tmp_path / "digits/1.0.0").mkdir(parents=True)
    for path in (data_dir / "digits/1.0.0").glob("*.json"):
        shutil.copy(path, tmp_path / "digits/1.0.0")
    return tmp_path


def test_mock_data_with_what_is_known(bare):
    with tfds.testing.mock_data(num_examples=3, policy=tfds.testing.MockPolicy.USE_FILES, data_dir=str(bare)):
        source = open_source("tfds:digits", bare)
        assert list(source.splits) == ["train", "test"] and len(elements(source, "test")) == 3
        with pytest.raises(ValueError, match="tfds:digits has no split 'val'; it has train, test"):
            source.size("val")


def test_files_that_are_gone(bare, data_dir):
    with pytest.raises(ValueError, match=rf"(?s)tfds:digits test cannot be read:.*{bare}/digits/1\.0\.0/digits-test"):
        open_source("tfds:digits", bare).size("test")
    shutil.copy(data_dir / "digits/1.0.0/digits-train.tfrecord-00000-of-00001", bare / "digits/1.0.0")
    assert open_source("tfds:digits", bare).size("train") == 1437


def test_files_of_another_length(bare, data_dir):
    train, test = (f"digits/1.0.0/digits-{split}.tfrecord-00000-of-00001" for split in ("train", "test"))
    shutil.copy(data_dir / test, bare / train)
    with pytest.raises(ValueError, match=rf"{bare / train} holds 360 records where 1437 should be"):
        open_source("tfds:digits", bare).read("train")


def test_what_is_too_large_for_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MEMORY_BYTES", 5000)
    with tfds.testing.mock_data(num_examples=7):
        source = open_source("tfds:cifar10", tmp_path)
        message = "tfds:cifar10 train is no TFRecord file.*more than 5,000 bytes: tfds convert_format"
        with pytest.raises(ValueError, match=message):
            source.size("train")


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


def test_the_last_few_are_kept():
    source, made = sources.Source("none", (), (1, 1, 1), {}), []
    first = [source.keep(("a", i), lambda i=i: made.append(i) or i) for i in range(sources.KEPT)]
    again = [source.keep(("a", i), lambda i=i: made.append(i) or i) for i in range(sources.KEPT)]
    assert first == again == made == list(range(sources.KEPT))
    source.keep("one more", list)
    source.keep(("a", 0), lambda: made.append("again"))
    assert made[-1] == "again" and len(made) == sources.KEPT + 1
