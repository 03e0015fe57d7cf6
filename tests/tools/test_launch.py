"""Real processes: small ones that stand for recipes, and one run of a recipe."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.launch import environments, free_ports

ROOT = Path(__file__).parents[2]

# The workers are `python -c` with a text each; what remains of the arguments is run_all's own.
LAUNCH = """
import sys
from tools import launch
launch.KILL_SECONDS = 1
scripts = sys.argv[1:]
sys.exit(launch.run_all([[sys.executable, "-uc", script] for script in scripts], launch.environments(len(scripts))))
"""


@contextlib.contextmanager
def start(*scripts):
    command = [sys.executable, "-c", LAUNCH, *scripts]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # a test that fails must not wait for ever


def run(*scripts):
    with start(*scripts) as process:
        output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until_gone(pids):
    until = time.monotonic() + 60
    while any(map(alive, pids)):
        assert time.monotonic() < until, "a worker was left behind"
        time.sleep(0.1)


# A signal that comes just ahead of a sleep is handled after it: sleeps are short, for those that handle signals.
SLEEP = "import os, time; print(os.getpid()); time.sleep(1000)"
DEAF = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid()); time.sleep(1000)"
GOOD_ORDER = """
import os, signal, sys, time
def note(number, frame):
    time.sleep(3)  # saving takes longer than launch.KILL_SECONDS
    print("saved")
    sys.exit(128 + number)
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGTERM, note)
print(os.getpid())
while True:
    time.sleep(0.1)
"""


def pids_of(process, count):
    return [int(process.stdout.readline().split()[1]) for _ in range(count)]


def test_lines_come_out_whole_each_behind_its_number():
    text = "import sys\nfor i in range(500): print(i, 'x' * 5000); print(i, 'y' * 5000, file=sys.stderr)"
    code, output, errors = run(text, text + "\nsys.stdout.write('no end')")
    assert code == 0
    for lines, letter in ((output.splitlines(), "x"), (errors.splitlines(), "y")):
        for index in (0, 1):
            mine = [line for line in lines if line.startswith(f"[{index}] ")]
            ends = ["no end"] if (index, letter) == (1, "x") else []
            assert mine == [f"[{index}] {text}" for text in [f"{i} {letter * 5000}" for i in range(500)] + ends]
    assert len(output.splitlines()) == 1001 and len(errors.splitlines()) == 1000


def test_lines_come_out_at_once():
    with start(SLEEP) as process:
        assert process.stdout.readline().startswith("[0] ")
        process.send_signal(signal.SIGTERM)
        process.communicate()


def test_when_one_fails_the_others_are_ended():
    with start(DEAF, SLEEP, "import sys, time; time.sleep(2); sys.exit(3)") as process:
        pids = pids_of(process, 2)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 3
    assert errors == "error: worker 2 ended with exit code 3; the others are ended.\n"
    wait_until_gone(pids)


def test_one_that_is_killed_is_named():
    code, _, errors = run("import os; os.kill(os.getpid(), 9)", SLEEP)
    assert code == 137 and "error: worker 0 was killed by SIGKILL; the others are ended." in errors


def test_what_a_worker_has_started_ends_with_it():
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-uc', {SLEEP!r}]); import time; time.sleep(2)"
    with start(parent) as process:
        pids = pids_of(process, 1)
        process.communicate(timeout=120)
        assert process.returncode == 0
    wait_until_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on_and_workers_may_take_their_time(number):
    with start(GOOD_ORDER, GOOD_ORDER.replace("sleep(3)", "sleep(0)")) as process:
        pids_of(process, 2)
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 128 + number
    assert sorted(output.splitlines()) == ["[0] saved", "[1] saved"] and errors == ""


def test_nothing_is_left_running_when_launch_is_killed():
    with start(SLEEP, DEAF) as process:
        pids = pids_of(process, 2)
        assert all(map(alive, pids))
        process.kill()
        process.communicate()
    wait_until_gone(pids)


def test_environments(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    configs = [json.loads(environment["TF_CONFIG"]) for environment in environments(3)]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": index} for index in range(3)]
    workers = configs[0]["cluster"]["worker"]
    assert len(set(workers)) == 3 and all(config["cluster"]["worker"] == workers for config in configs)
    assert [environment["TF_NUM_INTRAOP_THREADS"] for environment in environments(3)] == ["2"] * 3
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "5")
    assert environments(1)[0]["TF_NUM_INTRAOP_THREADS"] == "5"
    assert len(set(free_ports(50))) == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe behind `--`: "),
        (["--workers=2", "--", "--epochs=3"], "give a recipe behind `--`: "),
        (["--", "digits_lenet6"], "no recipe 'digits_lenet6': did you mean digits_lenet5"),
        (["--workers=0", "--", "digits_lenet5"], "workers"),
        (["--worker=2", "--", "digits_lenet5"], "worker"),
        (["--", "digits_lenet5", "--strategy=mirrored"], "--strategy is set here"),
        (["--", "digits_lenet5", "--worker_index", "1"], "--worker_index is set here"),
    ],
)
def test_wrong_arguments(arguments, message):
    done = subprocess.run([sys.executable, "-m", "tools.launch", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow  # tests/train/test_exactness.py does more of it
def test_two_workers_train_a_recipe(tmp_path, data_dir):
    flags = ["--smoke", f"--model_dir={tmp_path / 'run'}", f"--data_dir={data_dir}"]
    done = subprocess.run(
        [sys.executable, "-m", "tools.launch", "--workers=2", "--", "digits_lenet5", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"[0] Model:  {tmp_path / 'run' / 'model.keras'}" in done.stdout and "[1] Model" not in done.stdout
    assert (tmp_path / "run" / "model.keras").exists()
