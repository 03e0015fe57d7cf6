"""What a person sees of a run on a terminal. Where the output goes to a file, test_loop.py looks at it."""

import os
import pty
import re
import subprocess
import sys
import termios


def test_a_terminal_has_a_bar_with_figures_speed_and_time_left(data_dir, tmp_path):
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(terminal, (30, 180))
    command = [sys.executable, "-m", "recipes.digits_lenet5", "--epochs=3", "--train_split=train[:512]"]
    process = subprocess.Popen(
        [*command, f"--data_dir={data_dir}", f"--model_dir={tmp_path}"], stdout=inside, stderr=inside
    )
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
    lines = re.findall(
        r"epoch \d/3  train loss [\d.]+ accuracy +[\d.]+%  "
        r"test loss [\d.]+ accuracy +[\d.]+%  rate [\d.e-]+  [\d,]+ images/s",
        text,
    )
    assert len(lines) == 3, text
    bars = [part for part in text.split("\r") if "waiting for input" in part]
    assert bars, text
    assert re.search(
        r"epoch \d/3: +\d+%.*/1\.5\dk \[.*<.* images/s, loss [\d.]+, accuracy [\d.]+%, rate [\d.]+", bars[-1]
    ), bars
