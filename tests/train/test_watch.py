"""What a person sees: on a terminal, and where the output goes to a file."""

import os
import pty
import subprocess
import sys
import termios

SCRIPT = """
import pathlib, sys
from kerascnn.train.watch import Watch
row = dict(epoch=2, step=20, learning_rate=0.05, train_loss=1.25, train_accuracy=0.5, test_loss=2.5,
           test_accuracy=0.985, images_per_second=1234.4, seconds=3.0)
with Watch(images=4000, done=1000, epochs=4, log_dir=pathlib.Path(sys.argv[1])) as watch:
    watch.images(500, epoch=2, loss=1.25, accuracy=0.5, rate=0.05)
    watch.bar.refresh()
    watch.epoch(row)
"""
LINE = "epoch 2/4  train loss 1.2500 accuracy  50.00%  test loss 2.5000 accuracy  98.50%  rate 0.0500  1,234 images/s"


def test_a_terminal_has_a_bar_with_figures_speed_and_time_left(tmp_path):
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(terminal, (30, 150))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path], stdout=inside, stderr=inside)
    os.close(inside)
    seen = b""
    while True:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    assert process.wait() == 0, seen
    text = seen.decode()
    assert LINE in text
    bars = [part for part in text.split("\r") if "loss 1.250" in part]
    assert bars, text
    for figure in (" 38%", "1.50k/4.00k", "images/s", "loss 1.250, accuracy 50.0%, rate 0.05", "<"):
        assert figure in bars[0]


def test_a_file_has_a_line_for_each_epoch_and_nothing_else(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True)
    assert done.stdout == LINE + "\n"
    assert "epoch" not in done.stderr
