import multiprocessing
import resource
import signal
import time

import keras
import numpy as np
import pytest

from kerascnn.train import checkpoints

ARRAYS = {"model/kernel": np.arange(6.0).reshape(2, 3), "step": np.int64(7)}


def test_round_trip_and_only_the_newest_stay(tmp_path):
    for step in (5, 100_000_000, 30, 20):
        checkpoints.save(tmp_path, step, ARRAYS | {"step": np.int64(step)})
    assert checkpoints.latest(tmp_path)["step"] == 100_000_000
    np.testing.assert_array_equal(checkpoints.latest(tmp_path)["model/kernel"], ARRAYS["model/kernel"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000020.npz",
        "step-00000030.npz",
        "step-100000000.npz",
    ]


def test_none_without_a_folder_or_a_checkpoint(tmp_path):
    assert checkpoints.latest(tmp_path / "missing") is None
    assert checkpoints.latest(tmp_path) is None


def truncate(content):
    return content[: len(content) // 2]


def flip_a_bit(content):
    place = content.index(ARRAYS["model/kernel"].tobytes())
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda content: b"", lambda content: b"not an archive"])
def test_a_broken_checkpoint_is_passed_over(damage, tmp_path, capsys):
    checkpoints.save(tmp_path, 1, ARRAYS)
    checkpoints.save(tmp_path, 2, ARRAYS)
    newest = tmp_path / "step-00000002.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoints.latest(tmp_path).keys() == ARRAYS.keys()
    assert str(newest) in capsys.readouterr().err
    (tmp_path / "step-00000001.npz").unlink()
    assert checkpoints.latest(tmp_path) is None


def test_pickles_are_not_loaded(tmp_path, capsys):
    np.savez(tmp_path / "step-00000003.npz", step=np.array([print], dtype=object))
    assert checkpoints.latest(tmp_path) is None
    assert "step-00000003.npz" in capsys.readouterr().err


def _write_for_ever(folder, big):
    step = 2
    while True:
        checkpoints.save(folder, step, {"big": np.full(big, step, np.uint8), "step": np.int64(step)})
        step += 1


def test_a_kill_in_the_middle_of_writing_leaves_the_last_whole_one(tmp_path):
    big = 300_000_000  # takes long enough to be killed while it is written
    checkpoints.save(tmp_path, 1, {"big": np.full(big, 1, np.uint8), "step": np.int64(1)})
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(tmp_path, big))
    process.start()
    half_written = tmp_path / "writing.tmp"
    while not (half_written.exists() and half_written.stat().st_size > big // 10):
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert half_written.stat().st_size < big
    found = checkpoints.latest(tmp_path)
    assert (found["big"] == found["step"]).all()
    checkpoints.save(tmp_path, 1000, ARRAYS)  # what was left does not disturb the next one
    assert checkpoints.latest(tmp_path).keys() == ARRAYS.keys() and not half_written.exists()


def _save_with_little_room(folder):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        checkpoints.save(folder, 2, {"kernel": np.zeros(10_000)})
    except OSError:
        return
    raise SystemExit(1)


def test_a_full_disk_is_an_error_and_the_older_checkpoint_stays(tmp_path):
    checkpoints.save(tmp_path, 1, ARRAYS)
    process = multiprocessing.get_context("fork").Process(target=_save_with_little_room, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.npz"]
    assert checkpoints.latest(tmp_path).keys() == ARRAYS.keys()


def test_restore_is_all_or_nothing_and_names_what_does_not_fit():
    first, second = keras.Variable(np.zeros(2)), keras.Variable(np.zeros((3, 4)))
    variables = {"first": first, "second": second}
    with pytest.raises(ValueError, match=r"somewhere is of another model: second of shape \(3, 4\).* shape \(4, 3\)"):
        checkpoints.restore(variables, {"first": np.ones(2), "second": np.ones((4, 3))}, "somewhere")
    with pytest.raises(ValueError, match="has none"):
        checkpoints.restore(variables, {"first": np.ones(2)}, "somewhere")
    assert (np.asarray(first) == 0).all()
    checkpoints.restore(variables, {"first": np.ones(2), "second": np.ones((3, 4))}, "somewhere")
    assert (np.asarray(first) == 1).all() and (np.asarray(second) == 1).all()
