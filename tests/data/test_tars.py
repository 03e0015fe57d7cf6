"""ImageNet's archives: read where they lie, whatever is in them; nothing is ever written beside them."""

import io
import os
import re
import tarfile

import numpy as np
import pytest

from kerascnn.data import open_source, records, tars
from kerascnn.data.sources import Source

JPEG = b"\xff\xd8\xff\xe0"


def archive(members, **options):
    """A tar archive's bytes; a member is (name, content), or a TarInfo."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


SYNSETS = {"n02": 5, "n01": 3, "n10": 1}


@pytest.fixture
def train(tmp_path):
    """An archive of three classes, not in their order."""
    inner = [
        (f"{name}.tar", archive([(f"{name}_{i}.JPEG", JPEG + f"{name} {i}".encode()) for i in reversed(range(count))]))
        for name, count in SYNSETS.items()
    ]
    path = tmp_path / "train.tar"
    path.write_bytes(archive(inner))
    return path


@pytest.fixture
def val(tmp_path):
    path = tmp_path / "val.tar"
    path.write_bytes(archive([(f"./val_{i}.JPEG", JPEG + b"%d" % i) for i in (2, 0, 1)]))
    return path


def elements(source, split):
    return [(encoded.numpy(), int(label)) for encoded, label in source.dataset(split)]


def as_source(opened, split="train"):
    names, members = opened
    return Source("imagenet", names, (None, None, 3), {split: members})


def test_images_in_the_order_of_their_names(train):
    source = as_source(tars.open_train(str(train)))
    assert source.class_names == ("n01", "n02", "n10")
    wanted = [(JPEG + f"{n} {i}".encode(), k) for k, n in enumerate(source.class_names) for i in range(SYNSETS[n])]
    assert elements(source, "train") == wanted
    assert elements(source, "train[4:6]") == wanted[4:6]
    assert source.labels("train").tolist() == [label for _, label in wanted]
    assert source.nbytes("train") == sum(len(encoded) for encoded, _ in wanted)
    assert source.locate("train")(np.int64(8)).numpy().decode() == f"{train}/n10.tar/n10_0.JPEG"


@pytest.mark.parametrize("lines", ["n10\nn01\nn02\n", "2 0 1"])
def test_validation_images_and_their_labels(lines, train, val, tmp_path):
    (tmp_path / "labels").write_text(lines)
    names, _ = tars.open_train(str(train))
    source = as_source(tars.open_val(str(val), str(tmp_path / "labels"), names), "validation")
    assert elements(source, "validation") == [(JPEG + b"0", 2), (JPEG + b"1", 0), (JPEG + b"2", 1)]


def test_classes_of_validation_images_alone(val, tmp_path):
    (tmp_path / "labels").write_text("n10\nn01\nn10\n")
    names, members = tars.open_val(str(val), str(tmp_path / "labels"))
    assert names == ("n01", "n10") and members.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("n01\nn02\n", "labels has 2 labels, and {val} 3 images"),
        ("n01\nn02\nn03\n", "labels, line 3: 'n03' is no label: there are n01 ... n10, or 0 ... 2"),
        ("0\n3\n1\n", "labels, line 2: '3' is no label"),  # the development kit's count from 1 on
        ("0\n-1\n1\n", "labels, line 2: '-1' is no label"),
    ],
)
def test_labels_that_are_wrong(lines, message, train, val, tmp_path):
    (tmp_path / "labels").write_text(lines)
    with pytest.raises(ValueError, match=re.escape(message.format(val=val))):
        tars.open_val(str(val), str(tmp_path / "labels"), ("n01", "n02", "n10"))


GOOD = ("n01_0.JPEG", JPEG)
EVIL = [
    ([("../out.JPEG", JPEG)], "holds '../out.JPEG', which is no plain name"),
    ([("/tmp/out.JPEG", JPEG)], "holds '/tmp/out.JPEG', which is no plain name"),
    ([("a/../../out.JPEG", JPEG)], "holds 'a/../../out.JPEG', which is no plain name"),
    ([("sub/out.JPEG", JPEG)], "holds 'sub/out.JPEG', which is no plain name"),
    ([("..", JPEG)], "holds '..', which is no plain name"),
    ([(".hidden.JPEG", JPEG)], "holds '.hidden.JPEG', which is no plain name"),
    ([("a\nb.JPEG", JPEG)], r"holds 'a\nb.JPEG', which is no plain name"),
    ([special("x.JPEG", tarfile.SYMTYPE, "/etc/passwd")], "holds 'x.JPEG', which is no plain file"),
    ([special("x.JPEG", tarfile.LNKTYPE, "n01_0.JPEG")], "holds 'x.JPEG', which is no plain file"),
    ([special("x.JPEG", tarfile.CHRTYPE)], "holds 'x.JPEG', which is no plain file"),
    ([special("x.JPEG", tarfile.FIFOTYPE)], "holds 'x.JPEG', which is no plain file"),
    ([GOOD], "holds 'n01_0.JPEG' twice"),
    ([("./n01_0.JPEG", JPEG)], "holds './n01_0.JPEG' twice"),
    ([("x.JPEG", b"")], "holds 'x.JPEG', which is empty"),
]


@pytest.mark.parametrize(("members", "message"), EVIL)
def test_what_has_no_place_in_an_archive(members, message, tmp_path):
    inner = archive([GOOD, *members])
    (tmp_path / "t.tar").write_bytes(archive([("n01.tar", inner)]))
    (tmp_path / "v.tar").write_bytes(inner)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/t.tar/n01.tar {message}")):
        tars.open_train(str(tmp_path / "t.tar"))
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/v.tar {message}")):
        tars.open_val(str(tmp_path / "v.tar"), "never read")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive([("../n01.tar", archive([GOOD]))]), "t.tar holds '../n01.tar', which is no plain name"),
        (archive([special("n01.tar", tarfile.SYMTYPE, "/etc")]), "t.tar holds 'n01.tar', which is no plain file"),
        (archive([("n01.tar", archive([GOOD]))] * 2), "t.tar holds 'n01.tar' twice"),
        (archive([GOOD]), "t.tar holds 'n01_0.JPEG', where archives named after the classes should be"),
        (archive([("n01.tar", JPEG * 400)]), "t.tar/n01.tar is damaged or cut short after 0 files"),
        (archive([("n01.tar", archive([]))]), "t.tar/n01.tar holds no files"),
        (archive([special("n01", tarfile.DIRTYPE)]), "t.tar holds no files"),
        (
            archive([("n01.tar", archive([GOOD])[:1024]), ("n02.tar", archive([GOOD]))]),
            "n01.tar is damaged or cut short after",
        ),
        (archive([("n01.tar", archive([GOOD])[:700]), ("n02.tar", archive([GOOD]))]), "n01.tar is"),
        (archive([("n01.tar", archive([GOOD]))])[:1000], "t.tar is no tar archive, or is compressed or cut short"),
        (archive([("n01.tar", archive([GOOD]))])[: 512 + 10240], "t.tar is damaged or cut short after 1 files"),
        (b"", "t.tar is no tar archive"),
        (JPEG * 999, "t.tar is no tar archive"),
    ],
)
def test_archives_that_are_not_whole(content, message, tmp_path):
    (tmp_path / "t.tar").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        tars.open_train(str(tmp_path / "t.tar"))


def test_to_records(train, tmp_path):
    source = as_source(tars.open_train(str(train)))
    records.write(source, "train", str(tmp_path / "out"), shards=2, seed=0)
    copy = open_source(str(tmp_path / "out"))
    assert sorted(elements(copy, "train")) == sorted(elements(source, "train"))
    assert copy.class_names == source.class_names


def test_members_that_are_no_images_are_named(tmp_path):
    (tmp_path / "t.tar").write_bytes(archive([("n01.tar", archive([GOOD, ("readme.txt", b"hello")]))]))
    source = as_source(tars.open_train(str(tmp_path / "t.tar")))
    message = f"neither JPEG, PNG, GIF nor BMP: {tmp_path}/t.tar/n01.tar/readme.txt."
    with pytest.raises(ValueError, match=re.escape(message)):
        records.write(source, "train", str(tmp_path / "out"))
