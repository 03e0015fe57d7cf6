import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from kerascnn.train.interrupt import Interrupt, explain_lost_worker


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_acts(number, capsys):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert interrupt.signal is None
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
        assert signal.getsignal(number) == before
    assert "Stopping" in capsys.readouterr().err
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("noted", [False, True])
def test_everything_is_put_back(noted):
    handler, threads = signal.getsignal(signal.SIGINT), threading.active_count()
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    open_files = os.listdir("/proc/self/fd")
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != handler
        if noted:
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) == handler
    assert signal.set_wakeup_fd(descriptor) == descriptor
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == len(open_files)


def test_in_another_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with Interrupt() as interrupt:
            seen.extend([interrupt.signal, signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, before]


# The main thread is in C, as in a collective operation that waits for a worker: no handler of Python's is called there.
STUCK = """
import ctypes, sys, threading
from kerascnn.train.interrupt import Interrupt
with Interrupt(grace=float(sys.argv[1])):
    threading.Timer(1, print, ("in",), {"flush": True}).start()
    lock = ctypes.create_string_buffer(256)  # a mutex that nobody holds
    for _ in range(2):  # the second time, nobody will ever let go of it
        ctypes.CDLL(None).pthread_mutex_lock(lock)
"""
BUSY = """
import sys, time
from kerascnn.train.interrupt import Interrupt
with Interrupt(grace=float(sys.argv[1])) as interrupt:
    print("in", flush=True)
    while interrupt.signal is None:
        time.sleep(0.1)
    print("noted", flush=True)
    time.sleep(1000 if sys.argv[2] == "on" else 0)
time.sleep(0.5)  # longer than the grace: no longer its concern
print("out", flush=True)
"""


def start(script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stuck_process_is_ended_after_the_grace(number):
    with start(STUCK, "1") as process:
        started = time.monotonic()
        process.send_signal(number)
        output, errors = process.communicate()
        assert process.returncode == 128 + number
        assert time.monotonic() - started >= 1
    assert output == "" and "error: the run has not stopped in time" in errors
    assert "Stopping" not in errors  # Python's handler was not called


def test_a_second_signal_ends_a_stuck_process_long_before_the_grace():
    with start(STUCK, "100000") as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        process.communicate()
        assert process.returncode == 143


def test_one_that_is_in_python_too_long_is_ended_too():
    with start(BUSY, "0.5", "on") as process:
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate()
        assert process.returncode == 143
    assert output == "noted\n" and "Stopping" in errors and "not stopped in time" in errors


def test_one_that_leaves_in_time_is_left_alone():
    with start(BUSY, "0.3", "off") as process:
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate()
        assert process.returncode == 0
    assert output == "noted\nout\n" and "not stopped in time" not in errors


# What TensorFlow 2.21 said of three workers on loopback: of which one was killed or ended, which one was stopped.
CLOSED = """Graph execution error:
Collective ops is aborted by: Collective ops is aborted by: Socket closed
Additional GRPC error information from remote target /job:worker/replica:0/task:1 while calling /tensorflow.WorkerService/RecvBuf:
:UNKNOWN:Error received from peer  {grpc_message:"Socket closed", grpc_status:14}
The error could be from a previous operation. Restart your program to reset.
Additional GRPC error information from remote target /job:worker/replica:0/task:2 while calling /tensorflow.WorkerService/RecvBuf:
:UNKNOWN:Error received from peer  {grpc_message:"Collective ops is aborted by: Socket closed\\nAdditional GRPC error information from remote target /job:worker/replica:0/task:1 while calling /tensorflow.WorkerService/RecvBuf:\\n:UNKNOWN:Error received from peer", grpc_status:14}
"""  # noqa: E501
SILENT = """Collective ops is aborted by: Error reported from /job:worker/task:1: The following tasks are unhealthy (stopped sending heartbeats):
/job:worker/replica:0/task:{}
The tasks have crashed. Check the task logs for an earlier error, or scheduler events (e.g. preemption, eviction) to debug further.
"""  # noqa: E501
LEADER_SILENT = """Collective ops is aborted by: Deadline Exceeded

RPC: /tensorflow.CoordinationService/Heartbeat
The error could be from a previous operation. Restart your program to reset.
"""
LEADER_GONE = """Collective ops is aborted by: Failed to send RPC to coordination service. Either the leader task was preempted/died/restarted unexpectedly or this task is experiencing network issues.
Additional GRPC error information from remote target /job:worker/replica:0/task:0 while calling /tensorflow.CoordinationService/Heartbeat:
:UNKNOWN:Error received from peer  {grpc_message:"failed to connect to all addresses"}
"""  # noqa: E501


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (CLOSED, "worker 1 (b:1) is gone: ended, killed, or not answering"),
        (SILENT.format(2), "worker 2 (c:1) is gone"),
        (SILENT.format("2\n/job:worker/replica:0/task:1"), "worker 1 (b:1) and worker 2 (c:1) are gone"),
        (LEADER_SILENT, "worker 0 (a:1) is gone"),
        (LEADER_GONE, "worker 0 (a:1) is gone"),
    ],
)
def test_a_lost_worker_is_named(text, names):
    explained = explain_lost_worker(RuntimeError(text), ["a:1", "b:1", "c:1"])
    assert explained.startswith(names) and explained.endswith("the run goes on from its last checkpoint.")
    assert "\n" not in explained


def test_other_errors_are_not_explained():
    assert explain_lost_worker(RuntimeError("Matrix size-incompatible: In[0]: [2,3], In[1]: [4,5]"), ["a:1"]) is None
    assert explain_lost_worker(RuntimeError(CLOSED), []) is None  # nobody else trains
