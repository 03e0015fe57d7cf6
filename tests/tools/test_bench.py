import subprocess
import sys


def bench(*arguments):
    return subprocess.run([sys.executable, "-m", "tools.bench", *arguments], capture_output=True, text=True)


def test_loop_gives_both_sides_and_their_ratio():
    done = bench("loop", "--model=lenet5", "--steps=3", "--rounds=2", "--batch_size=8")
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[1:]] == ["train loop", "Keras fit", "ratio"]


def test_unknown():
    done = bench("lop")
    assert done.returncode == 2 and "there is loop" in done.stderr
