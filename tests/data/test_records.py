"""TFRecords by index: what is read, what is damaged and how it is told, and copies that survive whatever happens."""

import gzip
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data import open_source, records


def example(label, encoded=b"\x89PNG\r\n\x1a\n..."):
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_file(path, payloads):
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for payload in payloads:
            writer.write(payload)


@pytest.fixture
def shards(tmp_path):
    """train in three files of 3, 5 and 1 records, validation in one of 2; labels from 1 to 4."""
    folder = tmp_path / "shards"
    folder.mkdir()
    number = 0
    for name, count in [("train", (3, 5, 1)), ("validation", (2,))]:
        for i, length in enumerate(count):
            rows = range(number, number + length)
            write_file(folder / f"{name}-{i:05}-of-{len(count):05}", [example(k % 4 + 1, b"%d" % k) for k in rows])
            number += length
    return folder


def read(source, split):
    return [(encoded.numpy(), int(label)) for encoded, label in source.dataset(split)]


def places(source, split):
    return [place.decode() for place in source.locate(split)(tf.range(source.size(split), dtype=tf.int64)).numpy()]


QUERY = "?labels_from=1&classes=4"


def test_shards_in_the_imagenet_schema(shards):
    for pattern in ("", "/*-of-*", "/*"):
        source = open_source(f"{shards}{pattern}{QUERY}")
        assert source.class_names == ("0", "1", "2", "3") and source.image_shape == (None, None, 3)
        assert list(source.splits) == ["train", "validation"]
        assert read(source, "train") == [(b"%d" % k, k % 4) for k in range(9)]
        assert read(source, "validation+train[7:]") == [(b"%d" % k, k % 4) for k in (9, 10, 7, 8)]
        assert source.labels("train") is None
        assert source.nbytes("train") == sum(path.stat().st_size for path in shards.glob("train*"))
        assert places(source, "train[2:]") == [
            f"{shards}/train-0000{i}-of-00003, record {k}"
            for i, k in [(0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]
        ]
        assert source.size("train[1shard]") == 5  # as TFDS has it: the second file
    one = open_source(f"{shards}/validation-00000-of-00001{QUERY}")
    assert read(one, "validation") == read(source, "validation")


def test_any_order_and_many_at_once(shards):
    source = open_source(f"{shards}{QUERY}")
    order = np.random.default_rng(0).integers(0, 9, 500)
    dataset = tf.data.Dataset.from_tensor_slices(order).map(source.read("train"), tf.data.AUTOTUNE)
    assert [int(encoded) for encoded, _ in dataset.as_numpy_iterator()] == order.tolist()


def test_names_of_classes_from_a_file(shards, tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\ncow\ndog\n")
    assert open_source(f"{shards}?labels_from=1&classes={tmp_path}/names.txt").class_names == (
        "ant",
        "bee",
        "cow",
        "dog",
    )
    (tmp_path / "names.txt").write_text("ant\nbee\nant\n")
    with pytest.raises(ValueError, match=r"names\.txt has an empty line, or a name twice"):
        open_source(f"{shards}?labels_from=1&classes={tmp_path}/names.txt")


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["imagenet2012-train.tfrecord-00000-of-00001"], {"train": [0]}),
        (["a-b-val-00000-of-00001.tfrecord"], {"val": [0]}),
        (["train.tfrecord", "test.tfrecords"], {"train": [0], "test": [1]}),
        (["train-00001-of-00002", "train-00000-of-00002"], {"train": [1, 0]}),
    ],
)
def test_splits_come_from_the_names(names, splits):
    assert records.shards(f"/x/{name}" for name in names) == {
        split: [f"/x/{names[number]}" for number in numbers] for split, numbers in splits.items()
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train-00000-of-00003", "train-00002-of-00003"],
            "/x/train-00000-of-00003 is one of 3 files, and number 1 is",
        ),
        (["train-00000-of-00001", "train-00001-of-00002"], "/x/train-00001-of-00002 does not go together"),
        (["train-00000-of-00001", "a-train-00000-of-00001"], "/x/train-00000-of-00001 does not go together"),
        (["train-00001-of-00001"], "/x/train-00001-of-00001 does not go together"),
        (["data.bin"], "/x/data.bin: a name such as train-00000-of-00128 or train.tfrecord is wanted"),
    ],
)
def test_files_that_do_not_go_together(names, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        records.shards(f"/x/{name}" for name in names)


@pytest.mark.parametrize("query", ["", "?labels_from=1", "?classes=4"])
def test_what_cannot_be_known_has_to_be_said(query, shards):
    with pytest.raises(ValueError, match=re.escape(f"say what its labels mean: {shards}?labels_from=1&classes=1000")):
        open_source(f"{shards}{query}")


@pytest.mark.parametrize("query", ["?labels_from=0&classes=4", "?labels_from=1&classes=3"])
def test_a_label_that_is_no_class_is_named(query, shards):
    source = open_source(f"{shards}{query}")
    place = f"{shards}/train-00001-of-00003] [record] [0]"
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"(?s)\[label\] \[4\] \[is not in.*{re.escape(place[-30:])}"
    ):
        read(source, "train")
    if "from=1" in query:
        assert len(read(source, "train[:3]")) == 3


@pytest.mark.parametrize(
    ("payload", "message"),
    [(b"no example", "parse"), (b"", "image/"), (example(1).replace(b"coded", b"CODED"), "image/e")],
    ids=["noise", "nothing", "another name"],  # protobuf writes its fields in any order, and workers compare names
)
def test_a_record_without_the_features(payload, message, tmp_path):
    write_file(tmp_path / "train.tfrecord", [example(1), payload])
    source = open_source(f"{tmp_path}{QUERY}")
    assert len(read(source, "train[:1]")) == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        read(source, "train[1:]")


def test_a_broken_checksum_stops_at_its_record_only(shards):
    path = shards / "train-00001-of-00003"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the last record
    path.write_bytes(content)
    source = open_source(f"{shards}{QUERY}")
    assert len(read(source, "train[:7]+train[8:]")) == 8
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        read(source, "train[7:8]")


def flip(content, place):
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "is empty"),
        (lambda content: content[:-1], "is cut short: its record 4 is not whole"),
        (lambda content: content[: len(content) // 5 + 5], "is cut short: its record 1 is not whole"),
        (lambda content: content[:7], "is cut short: its record 0 is not whole"),
        (gzip.compress, "is compressed (GZIP)"),
        (lambda content: b"\xff\xd8\xff\xe0" + content, "is no TFRecord file"),
        (lambda content: b"path,label\n" * 20, "is no TFRecord file"),
        (lambda content: flip(content, 0), "is no TFRecord file"),
        (lambda content: flip(content, len(content) // 5 * 2), "is damaged: the length of record 2 has a wrong"),
        (lambda content: flip(content, len(content) // 5 * 2 + 9), "is damaged: the length of record 2 has a wrong"),
    ],
)
def test_a_file_that_is_damaged(damage, message, shards):
    path = shards / "train-00001-of-00003"
    path.write_bytes(damage(path.read_bytes()))
    source = open_source(f"{shards}{QUERY}")
    with pytest.raises(ValueError, match=re.escape(f"{path} {message}")):
        source.size("train")


def test_the_index_agrees_with_tensorflow(tmp_path):
    """Checksums of lengths of all kinds, and offsets at which TensorFlow finds the records."""
    payloads = [os.urandom(n) for n in (0, 1, 255, 256, 70_000, 3)]
    write_file(tmp_path / "a", payloads)
    (offsets,) = records.index([tmp_path / "a"])
    assert offsets.tolist() == np.cumsum([0, *(len(payload) + 16 for payload in payloads[:-1])]).tolist()
    content = (tmp_path / "a").read_bytes()
    assert [struct.unpack_from("<Q", content, at)[0] for at in offsets] == [len(payload) for payload in payloads]


# ---- The kept index


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(records, "KEPT_FROM", 9)
    return tmp_path / "cache/kerascnn"


def test_the_index_is_kept(kept, shards, monkeypatch):
    files = sorted(map(str, shards.glob("train*")))
    first = records.index(files)
    (file,) = kept.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(records, "_offsets", None)  # is not called again
        for one, other in zip(records.index(files), first, strict=True):
            np.testing.assert_array_equal(one, other)
    before = file.read_bytes()
    for content in (b"", b"no zip", before[:-30], before[:200] + b"x" + before[201:]):
        file.write_bytes(content)
        assert [len(offsets) for offsets in records.index(files)] == [3, 5, 1]
        assert file.read_bytes() == before
    write_file(files[2], [example(1)] * 2)
    assert [len(offsets) for offsets in records.index(files)] == [3, 5, 2]
    assert len(list(kept.iterdir())) == 2


def test_a_short_index_is_not_kept_nor_one_that_cannot_be(kept, shards):
    records.index([shards / "train-00000-of-00003"])
    assert not kept.exists()
    kept.parent.write_text("a file")
    assert len(records.index(sorted(shards.iterdir()))) == 4


# ---- Copies


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("seed", [None, 3])
def test_a_copy_has_the_same_elements(seed, photo_folder, tmp_path):
    source = open_source(str(photo_folder))
    copy = str(tmp_path / "copy")
    records.write(source, "train", copy, shards=3, seed=seed)
    records.write(source, "val", copy, shards=1, seed=seed, workers=1)
    names = ["manifest.json", *(f"train-0000{i}-of-00003" for i in range(3)), "train.index.npy"]
    assert sorted(os.listdir(copy)) == [*names, "val-00000-of-00001", "val.index.npy"]
    again = open_source(copy)
    assert (again.class_names, again.image_shape) == (source.class_names, source.image_shape)
    for split, order in (("train", np.arange(16)), ("val", np.arange(4))):
        if seed is not None:
            order = np.random.RandomState(seed).permutation(len(order))
            assert order.tolist() != sorted(order)
        wanted = read(source, split)
        assert read(again, split) == [wanted[k] for k in order]
        np.testing.assert_array_equal(again.labels(split), [wanted[k][1] for k in order])
    manifest = json.loads((tmp_path / "copy/manifest.json").read_text())
    assert [shard["records"] for shard in manifest["splits"]["train"]["shards"]] == [6, 5, 5]
    assert manifest["splits"]["train"]["classes"] == [8, 8] and manifest["labels_from"] == 1
    assert records.verify(copy) == 6
    # And everyone else can read them.
    raw = next(iter(tf.data.TFRecordDataset([f"{copy}/train-00000-of-00003"])))
    features = tf.train.Example.FromString(raw.numpy()).features.feature
    first = wanted = read(again, "train[:1]")[0]
    assert features["image/class/label"].int64_list.value == [first[1] + 1]
    assert features["image/class/text"].bytes_list.value == [("cat", "dog")[wanted[1]].encode()]
    assert features["image/format"].bytes_list.value == [b"JPEG"]
    assert re.fullmatch(rb"\d\d\.JPEG", features["image/filename"].bytes_list.value[0])


def test_a_second_time_nothing_is_written(photo_folder, tmp_path):
    source, copy = open_source(str(photo_folder)), tmp_path / "copy"
    records.write(source, "val", str(copy), shards=2)
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    records.write(source, "val", str(copy), shards=2)
    assert before == {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: (c / "val-00001-of-00002").unlink(), "{copy}/val-00001-of-00002 is missing"),
        (lambda c: (c / "val-00001-of-00002").write_bytes(b"x"), "{copy}/val-00001-of-00002 has 1 bytes where "),
        (lambda c: shutil.copy(c / "val-00001-of-00002", c / "val-00002-of-00003"), "val-00002-of-00003 is not in"),
        (lambda c: (c / ".making-train").mkdir(), "{copy} is not finished: make it again as before"),
        (lambda c: (c / "manifest.json").write_text("{"), "{copy}/manifest.json is no manifest of ours"),
        (lambda c: (c / "manifest.json").write_text("[]"), "{copy}/manifest.json is no manifest of ours"),
        (lambda c: (c / "manifest.json").write_text("{}"), "{copy}/manifest.json is no manifest of ours (KeyError"),
        (lambda c: (c / "manifest.json").write_text('{"splits": {"a": 1}}'), "is no manifest of ours (TypeError"),
        (lambda c: replace(c / "manifest.json", b"val-00001", b"../val-00001"), "'../val-00001-of-00002' is no plain"),
        (lambda c: replace(c / "manifest.json", b"val-00001", b"/val-00001"), "'/val-00001-of-00002' is no plain"),
    ],
)
def test_a_copy_that_is_changed(change, message, photo_folder, tmp_path):
    copy = tmp_path / "copy"
    records.write(open_source(str(photo_folder)), "val", str(copy), shards=2)
    change(copy)
    with pytest.raises(ValueError, match=re.escape(message.format(copy=copy))):
        open_source(str(copy))


def replace(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_changed_bytes_are_found_by_their_checksums(photo_folder, tmp_path):
    copy = tmp_path / "copy"
    records.write(open_source(str(photo_folder)), "val", str(copy), shards=2)
    for name in ("val-00001-of-00002", "val.index.npy"):
        (copy / name).write_bytes(flip((copy / name).read_bytes(), -9))
        source = open_source(str(copy))  # which looks at sizes alone
        with pytest.raises(
            ValueError, match=re.escape(f"other content than manifest.json says: {copy}/val-00001-of-00002")
        ):
            records.verify(str(copy))
    with pytest.raises(ValueError, match=re.escape(f"{copy}/val.index.npy is not what manifest.json says")):
        source.read("val")


def test_what_cannot_be_written(photo_folder, tmp_path, digits):
    source, copy = open_source(str(photo_folder)), str(tmp_path / "copy")
    for options, message in [
        ({"shards": 17}, "16 elements cannot be written into 17 files"),
        ({"name": "a/b"}, "'a/b' cannot be a split's name"),
        ({"name": ".."}, "'..' cannot be a split's name"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            records.write(source, "train", copy, **options)
    assert not os.path.exists(copy)
    records.write(source, "val", copy)
    with pytest.raises(ValueError, match=f"{copy} holds data of other classes or another shape"):
        records.write(digits, "test", copy)
    with pytest.raises(ValueError, match=f"{copy} holds another 'val' already"):
        records.write(source, "train", copy, name="val")
    with pytest.raises(OSError, match="Not a directory"):
        records.write(source, "val", f"{photo_folder}/val/cat/16.JPEG/x")


def test_files_that_are_no_images_are_all_named(photo_folder, tmp_path):
    bad = [photo_folder / "train/cat/02.JPEG", photo_folder / "train/dog/11.JPEG"]
    for path in bad:
        path.write_bytes(b"<html>")
    source = open_source(str(photo_folder))
    with pytest.raises(ValueError, match=re.escape(f"neither JPEG, PNG, GIF nor BMP: {bad[0]}, {bad[1]}.")):
        records.write(source, "train", str(tmp_path / "copy"), shards=4)
    with pytest.raises(ValueError, match="is not finished"):
        open_source(str(tmp_path / "copy"))
    (photo_folder / "train/cat/00.JPEG").unlink()
    with pytest.raises(ValueError, match=rf"(?s)train cannot be read: .*{photo_folder}/train/cat/00\.JPEG"):
        records.write(source, "train", str(tmp_path / "other"))


# Meets a full disk when it has finished its first shard, then goes on, and is killed before it renames its third.
WRITE = """
import os, resource, signal, sys
from kerascnn.data import open_source, records

def hook(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("-00000-of-00005.json") and limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits.pop())
    if event == "os.rename" and str(arguments[1]).endswith("-00002-of-00005"):
        os.kill(os.getpid(), signal.SIGKILL)

limits = [(1000, resource.RLIM_INFINITY)]
sys.addaudithook(hook)
source = open_source(sys.argv[1])
try:
    records.write(source, "train", sys.argv[2], shards=5, workers=1, seed=1)
except OSError as error:
    print(error, sorted(os.listdir(sys.argv[2])), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
records.write(source, "train", sys.argv[2], shards=5, workers=1, seed=1)
"""


def test_a_full_disk_and_a_kill_then_again(photo_folder, tmp_path):
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    source = open_source(str(photo_folder))
    records.write(source, "train", str(whole), shards=5, seed=1)
    command = [sys.executable, "-c", WRITE, photo_folder, copy]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert re.search(r"cannot write to .*File too large.* \['\.making-train', 'train-00000-of-00005'\]", done.stdout)
    assert sorted(os.listdir(copy)) == [".making-train", *(f"train-0000{i}-of-00005" for i in range(2))]
    with pytest.raises(ValueError, match="is not finished"):
        open_source(str(copy))
    with pytest.raises(ValueError, match="was begun from other data or settings"):
        records.write(source, "train", str(copy), shards=5, seed=2)
    first = (copy / "train-00000-of-00005").stat()
    records.write(source, "train", str(copy), shards=5, seed=1)
    assert contents(copy) == contents(whole)
    kept = (copy / "train-00000-of-00005").stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_finished_shard_that_was_damaged_is_written_again(photo_folder, tmp_path, monkeypatch):
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    source = open_source(str(photo_folder))
    records.write(source, "train", str(whole), shards=4)
    with monkeypatch.context() as patch:
        patch.setattr(records.np, "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            records.write(source, "train", str(copy), shards=4)
    path = copy / "train-00002-of-00004"
    path.write_bytes(flip(path.read_bytes(), 100))
    (copy / ".making-train/train-00003-of-00004.json").write_text("{")
    records.write(source, "train", str(copy), shards=4)
    assert contents(copy) == contents(whole)


def test_several_at_once_make_one_cache(photo_folder, tmp_path):
    source = open_source(str(photo_folder))
    with ThreadPoolExecutor(4) as threads:  # which the lock keeps apart as it does processes
        made = [threads.submit(records.cached, source, "train[3:9]", str(tmp_path / "cache")) for _ in range(4)]
    assert [copy.result().size("train[3:9]") for copy in made] == [6] * 4
    (folder,) = (tmp_path / "cache").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    copy = records.cached(source, "train[3:9]", str(tmp_path / "cache"))
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert read(copy, "train[3:9]") == read(source, "train[3:9]")
    assert (copy.name, copy.class_names, copy.image_shape) == (source.name, source.class_names, source.image_shape)
    np.testing.assert_array_equal(copy.labels("train[3:9]"), source.labels("train[3:9]"))
    assert all(str(folder) in place for place in places(copy, "train[3:9]"))


def test_a_cache_of_what_has_changed_is_not_taken(photo_folder, tmp_path):
    records.cached(open_source(str(photo_folder)), "train", str(tmp_path / "cache"))
    (photo_folder / "train/cat/00.JPEG").unlink()
    with pytest.raises(ValueError, match="holds another 'data' already: choose another folder, or delete it"):
        records.cached(open_source(str(photo_folder)), "train", str(tmp_path / "cache"))


def test_every_kind_of_source_can_be_copied(digits, photos, tmp_path):
    for source, split in ((digits, "test"), (photos, "train")):
        copy = records.cached(source, split, str(tmp_path))
        assert read(copy, split) == read(source, split)
        assert copy.image_shape == source.image_shape
