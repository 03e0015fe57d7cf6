"""Images as files: which count, in which order and with which label, and how a wrong folder or table is answered."""

import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kerascnn.data import open_source


def read(source, split):
    return [(encoded.numpy(), int(label)) for encoded, label in source.dataset(split)]


def places(source, split):
    return [os.fsdecode(place) for place in source.locate(split)(tf.range(source.size(split), dtype=tf.int64)).numpy()]


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


# ---- Folders


def test_folders_of_splits(photo_folder):
    for name in (f"folder:{photo_folder}", str(photo_folder), f"{photo_folder}/"):
        source = open_source(name)
        assert source.class_names == ("cat", "dog") and source.image_shape == (None, None, 3)
        assert list(source.splits) == ["train", "val"] and (source.size("train"), source.size("val")) == (16, 4)
        wanted = [path for kind in ("cat", "dog") for path in sorted((photo_folder / "train" / kind).iterdir())]
        assert places(source, "train") == [os.path.join(name.removeprefix("folder:"), *p.parts[-3:]) for p in wanted]
        assert read(source, "train") == [(path.read_bytes(), int("dog" in path.parts)) for path in wanted]
        np.testing.assert_array_equal(source.labels("train[7:9]+val"), [0, 1, 0, 0, 1, 1])
        assert source.nbytes("train") == sum(path.stat().st_size for path in wanted)


def test_folders_of_classes_are_one_split(photo_folder):
    source = open_source(str(photo_folder / "val"))
    assert list(source.splits) == ["train"] and source.size("train") == 4
    assert source.size("train[50%:]") == 2


def test_what_counts_and_in_which_order(tmp_path, capsys):
    names = ["b/Z.jpg", "b/a.JPG", "b/é.Png", "b/in/deep/x.bmp", "a/10.gif", "a/9.jpeg", "B/x.jpg"]
    others = ["b/.hidden.jpg", "b/.git/x.jpg", "b/Thumbs.db", "b/x.webp", "b/none", "readme.txt", ".cache/x.jpg"]
    source = open_source(str(touch(tmp_path, *names, *others)))
    assert source.class_names == ("B", "a", "b")
    wanted = ["B/x.jpg", "a/10.gif", "a/9.jpeg", "b/Z.jpg", "b/a.JPG", "b/in/deep/x.bmp", "b/é.Png"]
    assert places(source, "train") == [str(tmp_path / name) for name in wanted]
    assert read(source, "train") == [(name.encode(), "Bab".index(name[0])) for name in wanted]
    told = capsys.readouterr().err
    assert told.startswith(f"{tmp_path}: ignored 4 files that are not named as images: ")
    assert (
        "1 .db" in told and "1 .webp" in told and "1 without" in told and "1 beside" in told and told.count("\n") == 1
    )


def test_names_that_are_no_text(tmp_path):
    (tmp_path / "a").mkdir()
    path = os.fsencode(tmp_path / "a") + b"/\xff.jpg"
    with open(path, "wb") as file:
        file.write(b"x")
    source = open_source(str(tmp_path))
    assert read(source, "train") == [(b"x", 0)] and source.locate("train")(tf.constant(0, tf.int64)).numpy() == path


def test_links_are_followed_but_not_in_circles(photo_folder, tmp_path):
    one = touch(tmp_path / "one", "a/1.jpg")
    touch(tmp_path / "far", "2.jpg")
    (one / "a" / "link").symlink_to(tmp_path / "far")
    (one / "b").symlink_to(tmp_path / "far")
    source = open_source(str(one))
    assert places(source, "train") == [f"{one}/a/1.jpg", f"{one}/a/link/2.jpg", f"{one}/b/2.jpg"]
    for target in (one, one / "a"):
        (one / "a" / "self").symlink_to(target)
        with pytest.raises(ValueError, match=re.escape(f"{one}/a/self is a link to a folder that it lies in")):
            open_source(str(one))
        (one / "a" / "self").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train/bird").mkdir(), "{root}/train/bird is a class that {root}/val lacks"),
        (lambda root: touch(root, "val/bird/1.jpg"), "{root}/val/bird is a class that {root}/train lacks"),
        (lambda root: shutil.rmtree(root / "val/cat"), "{root}/train/cat is a class that {root}/val lacks"),
        (
            lambda root: [p.unlink() for p in (root / "val/cat").iterdir()],
            "{root}/val/cat holds no images (.jpg, .jpeg",
        ),
        (lambda root: [p.rename(f"{p}.x") for p in (root / "val/cat").iterdir()], "{root}/val/cat holds no images"),
        (lambda root: (root / "cat").mkdir(), "{root} holds 'train', a split, beside 'cat', which is none"),
        (lambda root: shutil.rmtree(root / "train/cat") or shutil.rmtree(root / "train/dog"), "train holds no class"),
        (lambda root: (root / "train/a\nb").mkdir(), r"{root}/train holds a folder whose name cannot be shown: 'a\nb'"),
        (lambda root: shutil.rmtree(root) or root.mkdir(), "{root} holds no class folders"),
    ],
)
def test_a_folder_that_is_wrong(change, message, photo_folder):
    change(photo_folder)
    with pytest.raises(ValueError, match=re.escape(message.format(root=photo_folder))):
        open_source(f"folder:{photo_folder}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{root}x", "no data source '{root}x': {parent} holds no 'photosx': did you mean photos?"),
        ("folder:{root}x", "no data source 'folder:{root}x': {parent} holds no 'photosx': did you mean photos?"),
        ("{root}/trian/cat", "{root} holds no 'trian': did you mean train?"),
        ("folder:{root}/train/cat/00.JPEG", "{root}/train/cat/00.JPEG is a file"),
        ("{root}/train/cat/00.JPEG", "{root}/train/cat/00.JPEG is no data source: give 'digits'"),
        ("foldr:{root}", "no data source 'foldr:{root}'"),
        ("{root}.csv", "no data source '{root}.csv': {parent} holds no 'photos.csv': did you mean photos?"),
        ("{root}/*.tfrecord", "no file matches {root}/*.tfrecord"),
        ("{root}?labels_from=1&classes=2", "no file matches {root}"),
        ("{root}?labels_from=2", "'labels_from=2' is not of the form labels_from=1 (or 0)"),
        ("{root}?classes=2&label_from=2", "'label_from=2' is not of the form"),
    ],
)
def test_a_path_that_is_wrong(name, message, photo_folder):
    names = {"root": photo_folder, "parent": photo_folder.parent}
    with pytest.raises(ValueError, match=re.escape(message.format(**names))):
        open_source(name.format(**names))


def test_a_file_that_is_gone_is_named_when_it_is_read(photo_folder):
    source = open_source(str(photo_folder))
    gone = photo_folder / "val/cat/16.JPEG"
    gone.unlink()
    with pytest.raises(tf.errors.NotFoundError, match=re.escape(str(gone))):
        read(source, "val")


# ---- Tables


def table(folder, text, encoding="utf-8"):
    touch(folder, "1.jpg", "in/2.jpg", "3,x.jpg", "4.jpg")
    (folder / "t.csv").write_bytes(text.encode(encoding))
    return str(folder / "t.csv")


def test_a_table_without_a_heading(tmp_path):
    text = f'in/2.jpg,dog\n1.jpg, cat\n\n"3,x.jpg",dog\r\n{tmp_path}/4.jpg,"Æ, b"\n'
    source = open_source(table(tmp_path, text))
    assert source.class_names == ("cat", "dog", "Æ, b") and list(source.splits) == ["train"]
    assert read(source, "train") == [(b"in/2.jpg", 1), (b"1.jpg", 0), (b"3,x.jpg", 1), (b"4.jpg", 2)]
    np.testing.assert_array_equal(source.labels("train[1:]"), [0, 1, 2])
    assert source.nbytes("train") == 25


def test_a_table_with_a_heading(tmp_path):
    text = "split,Label,size,IMAGE\nval,0,7,1.jpg\ntrain,1,8,in/2.jpg\ntrain,0,9,4.jpg\n"
    source = open_source(table(tmp_path, text, "utf-8-sig"))
    assert source.class_names == ("0", "1")
    assert read(source, "val+train") == [(b"1.jpg", 0), (b"in/2.jpg", 1), (b"4.jpg", 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv has no rows"),
        ("path,label\n", "t.csv has no rows"),
        ("1.jpg,a\n2.jpg\n", "t.csv, line 2: 1 cells where 2 should be"),
        ("1.jpg,a,b\n", "t.csv, line 1: 3 cells where 2 should be"),
        ("file,label\n1.jpg,a\n", "t.csv, line 1: there is no file"),
        ("1.jpg,a\n\n2.jpg,b\n", "t.csv, line 3: there is no file"),
        ("1.jpg,\n", "t.csv, line 1: an empty cell"),
        ("path,label,split\n1.jpg,a,\n", "t.csv, line 2: an empty cell"),
        ("in,a\n", "there is no file"),
        ("1.jpg,a\n4.jpg,b\n1.jpg,b\n", "t.csv, line 3: {root}/1.jpg has the label b here and a in line 1"),
        ("1.jpg,0\n4.jpg,-1\n", "t.csv: -1 is no label: they count from 0 on"),
        ("1.jpg,1\n4.jpg,2\n", "t.csv: labels count from 0 to 2, and none is 0"),
        ("1.jpg,0\n4.jpg,1000000000000\n", "t.csv: labels count from 0 to 1000000000000, and none is 1"),
        (
            "path,label,split\n1.jpg,a,train\n4.jpg,b,val\n",
            "t.csv, line 3: {root}/4.jpg of 'val' is of class b; 'train'",
        ),
        ('1.jpg,"a\n', "t.csv is no CSV file in UTF-8: unexpected end of data"),
    ],
)
def test_a_table_that_is_wrong(text, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message.format(root=tmp_path))):
        open_source(table(tmp_path, text))


def test_a_table_in_another_encoding(tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv is no CSV file in UTF-8"):
        open_source(table(tmp_path, "1.jpg,é\n", "latin-1"))
