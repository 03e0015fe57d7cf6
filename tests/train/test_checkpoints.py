"""Checkpoints are whole or refused, whatever befalls the files."""

import multiprocessing
import os
import resource
import shutil
import signal
import time
import tracemalloc
import zipfile

import keras
import numpy as np
import pytest

from kerascnn.train import checkpoints

ARRAYS = {
    "model/kernel": np.arange(6.0).reshape(2, 3),
    "step": np.int64(7),
    "empty": np.zeros((0, 3), np.float32),
    "text": np.array(["a", "bc"]),
}


def save(folder, *steps, **named):
    for step in steps:
        checkpoints.save(folder, step, ARRAYS | {"step": np.int64(step)}, **named)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_and_only_the_newest_stay(tmp_path):
    arrays = ARRAYS | {"transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T, "flag": np.bool_(True)}
    for step in (5, 20, 30, 100_000_000):
        checkpoints.save(tmp_path / "new", step, arrays | {"step": np.int64(step)})
    assert names(tmp_path / "new") == ["step-00000020.npz", "step-00000030.npz", "step-100000000.npz"]
    found = checkpoints.load(tmp_path / "new")
    assert found.pop("step") == 100_000_000
    assert found.keys() == arrays.keys() - {"step"}
    for name, array in found.items():
        assert array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
        np.testing.assert_array_equal(array, arrays[name])
        array[...] = array[...]  # not read-only
    save(tmp_path / "new", 100_000_001, keep=1)
    assert names(tmp_path / "new") == ["step-100000001.npz"]


def test_numpy_reads_it_too(tmp_path):
    save(tmp_path, 1)
    with np.load(tmp_path / "step-00000001.npz", allow_pickle=False) as archive:
        assert list(archive) == list(ARRAYS)
        np.testing.assert_array_equal(archive["model/kernel"], ARRAYS["model/kernel"])


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    save(tmp_path / "a", 1)
    save(tmp_path / "b", 1)
    assert (tmp_path / "a/step-00000001.npz").read_bytes() == (tmp_path / "b/step-00000001.npz").read_bytes()


def test_arrays_are_asked_for_one_by_one_and_not_copied(tmp_path):
    class Fetched(dict):
        def __getitem__(self, name):
            return np.full(5_000_000, float(name))  # 40 MB, as if fetched from a device

    tracemalloc.start()
    try:
        checkpoints.save(tmp_path, 1, Fetched.fromkeys("12345"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 40e6 < peak < 45e6
    assert (checkpoints.load(tmp_path)["3"] == 3).all()


@pytest.mark.parametrize("array", [np.array([print]), np.zeros(2, np.dtype("V2"))], ids=["objects", "raw"])
def test_what_would_not_come_back_is_refused(array, tmp_path):
    save(tmp_path, 1)
    with pytest.raises(ValueError, match="cannot hold odd: its dtype is"):
        checkpoints.save(tmp_path, 2, ARRAYS | {"odd": array})
    assert names(tmp_path) == ["step-00000001.npz"]


# Which one is loaded


def test_none_without_a_folder_or_a_checkpoint(tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        assert checkpoints.load(folder) is None
        for which, message in (("older", "there is no checkpoint in"), ("best", "there is no .*best.npz")):
            with pytest.raises(ValueError, match=message):
                checkpoints.load(folder, which)
    with pytest.raises(ValueError, match="no checkpoint 'newest': there are latest, older, best"):
        checkpoints.load(tmp_path, "newest")


def test_the_best_stays_when_its_number_goes(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, best=True)
    assert os.path.samefile(tmp_path / "step-00000002.npz", tmp_path / "best.npz")
    save(tmp_path, 3, 4, 5)
    assert names(tmp_path) == ["best.npz", "step-00000003.npz", "step-00000004.npz", "step-00000005.npz"]
    assert checkpoints.load(tmp_path, "best")["step"] == 2
    assert checkpoints.load(tmp_path)["step"] == checkpoints.load(tmp_path, "older")["step"] == 5
    save(tmp_path, 6, best=True)
    save(tmp_path, 6, best=True)  # the same step again, as when a run's last epoch is finished
    assert checkpoints.load(tmp_path, "best")["step"] == 6
    assert names(tmp_path) == ["best.npz", "step-00000004.npz", "step-00000005.npz", "step-00000006.npz"]


def test_the_best_is_a_copy_where_files_have_one_name_only(tmp_path, monkeypatch):
    def link(*_):  # as on FAT, for which a file system would have to be mounted here
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    save(tmp_path, 1, best=True)
    assert names(tmp_path) == ["best.npz", "step-00000001.npz"]
    assert not os.path.samefile(tmp_path / "step-00000001.npz", tmp_path / "best.npz")
    assert checkpoints.load(tmp_path, "best")["step"] == 1


def test_a_kill_between_the_two_names_loses_neither(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, best=True)
    (tmp_path / "step-00000002.npz").rename(tmp_path / "writing.tmp")  # best.npz has its name, the number is to come
    assert checkpoints.load(tmp_path)["step"] == 1
    save(tmp_path, 3)  # which writes writing.tmp again
    assert checkpoints.load(tmp_path, "best")["step"] == 2


def test_going_back_sets_later_ones_aside_once_something_is_saved(tmp_path, capsys):
    save(tmp_path, 10, best=True)
    save(tmp_path, 20, 30, 40)
    assert checkpoints.load(tmp_path, "best")["step"] == 10
    assert checkpoints.load(tmp_path)["step"] == 40  # to load changes nothing
    save(tmp_path, 15)
    assert capsys.readouterr().err.count("Setting aside a checkpoint of a later step") == 3
    aside = ["step-00000020.npz.aside", "step-00000030.npz.aside", "step-00000040.npz.aside"]
    assert names(tmp_path) == ["best.npz", "step-00000015.npz", *aside]
    assert checkpoints.load(tmp_path)["step"] == checkpoints.load(tmp_path, "older")["step"] == 15
    save(tmp_path, 25, 35)
    assert names(tmp_path) == ["best.npz", "step-00000015.npz", "step-00000025.npz", "step-00000035.npz", aside[2]]
    save(tmp_path, 45)  # past all of them
    assert names(tmp_path) == ["best.npz", "step-00000025.npz", "step-00000035.npz", "step-00000045.npz"]


# What befalls files


def truncate(content):
    return content[: len(content) // 2]


def flip_a_bit(content):
    place = content.index(ARRAYS["model/kernel"].tobytes())
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def rewritten(path, change):
    """Writes an archive anew, with CRCs that fit and the old checksum, after `change` of its members."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
        comment = archive.comment
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in change(members).items():
            archive.writestr(name, content)
        archive.comment = comment


def changed_values(members):
    return members | {"step.npy": members["step.npy"][:-8] + (8).to_bytes(8, "little")}


def changed_shape(members):
    kernel = members["model/kernel.npy"].replace(b"(2, 3)", b"(3, 2)")
    return members | {"model/kernel.npy": kernel}


def changed_type(members):
    return members | {"step.npy": members["step.npy"].replace(b"<i8", b"<f8")}


def huge(members):
    return members | {"step.npy": members["step.npy"].replace(b"(), }      ", b"(9999999,)}")}


def renamed(members):
    return {name.replace("kernel", "bias"): content for name, content in members.items()}


def swapped(members):
    names = list(members)
    return {name: members[other] for name, other in zip(names, [names[1], names[0], *names[2:]], strict=True)}


def without_one(members):
    return {name: content for name, content in members.items() if name != "empty.npy"}


DAMAGES = {
    "truncated": (truncate, "it is truncated: of the [0-9,]+ bytes that are there"),
    "empty": (lambda content: b"", "it is not an archive of arrays, but 0 bytes"),
    "text": (lambda content: b"not an archive", "it is not an archive of arrays, but 14 bytes"),
    "bit": (flip_a_bit, "it is damaged .*Bad CRC-32 for file 'model/kernel.npy'"),
    "hole": (lambda content: content[:200] + content[300:], "it is damaged"),
    "values": (changed_values, "it is not what was written: its arrays do not have its checksum"),
    "shape": (changed_shape, "it is not what was written: its arrays do not have its checksum"),
    "type": (changed_type, "it is not what was written: its arrays do not have its checksum"),
    "huge": (huge, r"it is damaged: step of shape \(9999999,\) cannot be in"),
    "renamed": (renamed, "it is not what was written: its arrays do not have its checksum"),
    "swapped": (swapped, "it is not what was written: its arrays do not have its checksum"),
    "missing": (without_one, "it is not what was written: its arrays do not have its checksum"),
}
ON_BYTES = ("truncated", "empty", "text", "bit", "hole")


def damage(path, kind):
    change, _ = DAMAGES[kind]
    if kind in ON_BYTES:
        path.write_bytes(change(path.read_bytes()))
    else:
        rewritten(path, change)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_broken_newest_one_is_an_error_that_says_what_to_do(kind, tmp_path, capsys):
    save(tmp_path, 1, 2)
    newest = tmp_path / "step-00000002.npz"
    damage(newest, kind)
    with pytest.raises(ValueError) as error:
        checkpoints.load(tmp_path)
    assert error.match(f"the newest checkpoint, {newest}, cannot be used: {DAMAGES[kind][1]}")
    assert error.match(r"--resume=older goes on from step 1 \(step-00000001.npz\), as does deleting the broken file")
    assert capsys.readouterr().err == ""
    assert checkpoints.load(tmp_path, "older")["step"] == 1
    assert str(newest) in capsys.readouterr().err
    save(tmp_path, 2)  # the run comes to its step again
    assert checkpoints.load(tmp_path)["step"] == 2


def test_members_are_only_changed_where_the_tests_say_so(tmp_path):
    save(tmp_path, 1)
    rewritten(tmp_path / "step-00000001.npz", lambda members: members)
    assert checkpoints.load(tmp_path)["step"] == 1
    for change in (changed_values, changed_shape, changed_type, huge, renamed, swapped, without_one):
        with zipfile.ZipFile(tmp_path / "step-00000001.npz") as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        assert list(change(members).items()) != list(members.items()), change


def test_nothing_whole(tmp_path, capsys):
    save(tmp_path, 1, 2)
    save(tmp_path, 3, best=True)
    for path in tmp_path.iterdir():
        path.write_bytes(truncate(path.read_bytes()))
    with pytest.raises(ValueError, match=r"No older one is whole\. Delete those .* the run begins anew"):
        checkpoints.load(tmp_path)
    with pytest.raises(ValueError, match=r"no checkpoint in .* is whole\. Delete those"):
        checkpoints.load(tmp_path, "older")
    assert capsys.readouterr().err.count("Passing over") == 3
    with pytest.raises(ValueError, match=r"best.npz cannot be used: it is truncated.*--resume=latest takes the newest"):
        checkpoints.load(tmp_path, "best")


def test_a_broken_one_that_was_passed_over_is_not_taken_again(tmp_path):
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-00000002.npz", "bit")
    content = (tmp_path / "step-00000002.npz").read_bytes()
    assert checkpoints.load(tmp_path, "older")["step"] == 1
    checkpoints.save(tmp_path, 1, ARRAYS)  # stopped before it came any further
    assert checkpoints.load(tmp_path)["step"] == 7
    assert (tmp_path / "step-00000002.npz.aside").read_bytes() == content


def test_pickles_and_files_without_a_checksum_are_not_loaded(tmp_path):
    path = tmp_path / "step-00000003.npz"
    np.savez(path, step=np.int64(3))
    with pytest.raises(ValueError, match="it has no checksum, so an older version wrote it"):
        checkpoints.load(tmp_path)
    np.savez(path, step=np.array([print], dtype=object))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"sha256=" + b"0" * 64
    with pytest.raises(ValueError, match=r"it holds pickles \(step\), which are never loaded"):
        checkpoints.load(tmp_path)


def test_any_byte_may_be_wrong(tmp_path):
    """Each byte of a file in turn: either the arrays are right all the same, or it is said that they are not."""
    checkpoints.save(tmp_path, 1, {"a": np.arange(4.0), "b": np.int64(5)})
    path = tmp_path / "step-00000001.npz"
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for place in range(len(content)):
        before, content[place] = content[place], content[place] ^ int(random.integers(1, 256))
        path.write_bytes(content)
        try:
            found = checkpoints.load(tmp_path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert list(found) == ["a", "b"] and found["b"] == 5
            np.testing.assert_array_equal(found["a"], np.arange(4.0))
        content[place] = before
    assert refused > len(content) // 2


def _write_for_ever(folder, big):
    step = 2
    while True:
        checkpoints.save(folder, step, {"big": np.full(big, step, np.uint8), "step": np.int64(step)}, best=True)
        step += 1


def _size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has just got its number
        return 0


def test_a_kill_in_the_middle_of_writing_leaves_the_last_whole_one(tmp_path):
    big = 100_000_000  # takes long enough to be killed while it is written
    checkpoints.save(tmp_path, 1, {"big": np.full(big, 1, np.uint8), "step": np.int64(1)}, best=True)
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(tmp_path, big))
    process.start()
    half_written = tmp_path / "writing.tmp"
    while _size(half_written) <= big // 10:
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert half_written.stat().st_size < big
    for which in ("latest", "best"):
        found = checkpoints.load(tmp_path, which)
        assert (found["big"] == found["step"]).all()
    checkpoints.save(tmp_path, 1000, ARRAYS)  # what was left does not disturb the next one
    assert checkpoints.load(tmp_path).keys() == ARRAYS.keys() and not half_written.exists()


def _save_with_little_room(folder, answers):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        checkpoints.save(folder, 2, {"kernel": np.zeros(10_000)}, best=True)
    except OSError as error:
        answers.send(str(error))
    else:
        answers.send("written")


def test_a_full_disk_is_an_error_and_the_older_checkpoint_stays(tmp_path):
    checkpoints.save(tmp_path, 1, ARRAYS, best=True)
    context = multiprocessing.get_context("fork")
    answers, send = context.Pipe(duplex=False)
    process = context.Process(target=_save_with_little_room, args=(tmp_path, send))
    process.start()
    process.join()
    path = tmp_path / "step-00000002.npz"
    assert answers.recv().startswith(f"cannot write the checkpoint {path} (File too large): mend that or free some")
    assert names(tmp_path) == ["best.npz", "step-00000001.npz"]
    assert checkpoints.load(tmp_path).keys() == checkpoints.load(tmp_path, "best").keys() == ARRAYS.keys()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write the checkpoint .*checkpoints/step-00000001.npz \(File exists\)"):
        save(tmp_path / "checkpoints", 1)
    with pytest.raises(OSError, match=r"checkpoints/below/step-00000001.npz \(Not a directory\)"):
        save(tmp_path / "checkpoints" / "below", 1)


def test_an_interrupted_save_leaves_nothing_behind(tmp_path):
    class Stopped(dict):
        def __getitem__(self, name):
            if name == "second":
                raise KeyboardInterrupt
            return np.zeros(1000)

    save(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, 2, Stopped.fromkeys(["first", "second"]))
    assert names(tmp_path) == ["step-00000001.npz"]


def test_what_a_dead_process_left_is_harmless(tmp_path):
    save(tmp_path, 1)
    for name in ("writing.tmp", "best.tmp"):
        shutil.copy(tmp_path / "step-00000001.npz", tmp_path / name)
    assert checkpoints.load(tmp_path)["step"] == 1
    save(tmp_path, 2, best=True)
    assert names(tmp_path) == ["best.npz", "step-00000001.npz", "step-00000002.npz"]


# Laying it onto variables


def test_restore_is_all_or_nothing_and_names_what_does_not_fit():
    first, second = keras.Variable(np.zeros(2)), keras.Variable(np.zeros((3, 4)))
    variables = {"first": first, "second": second}
    with pytest.raises(ValueError, match=r"somewhere is of another.*: 1 of 2 .*second of shape \(3, 4\).* \(4, 3\)\."):
        checkpoints.restore(variables, {"first": np.ones(2), "second": np.ones((4, 3))}, "somewhere")
    with pytest.raises(ValueError, match="has none"):
        checkpoints.restore(variables, {"first": np.ones(2)}, "somewhere")
    assert (np.asarray(first) == 0).all()
    checkpoints.restore(variables, {"first": np.ones(2), "second": np.ones((3, 4))}, "somewhere")
    assert (np.asarray(first) == 1).all() and (np.asarray(second) == 1).all()


def test_restore_names_the_first_few():
    variables = {f"v{i}": keras.Variable(np.zeros(2)) for i in range(9)}
    with pytest.raises(ValueError, match=r"8 of 9 variables do not fit: v1 of .*; v2 of .*; v3 of .* none; and 5 more"):
        checkpoints.restore(variables, {"v0": np.ones(2)}, "somewhere")
