import os
import subprocess
import sys


def stderr_of(code, **environment):
    clean = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean | environment)
    return done.returncode, done.stderr


def test_tensorflow_is_quiet_in_our_commands_and_left_alone_elsewhere():
    use = "import tensorflow as tf; tf.config.list_logical_devices(); tf.constant(1) + 1"
    quiet = f"""
import sys
from kerascnn import console
with console.quiet_start():
    import keras
    import matplotlib  # is there again
assert "sklearn" not in sys.modules, "Keras's wrappers take a second"
import sklearn.datasets
{use}
"""
    assert stderr_of(quiet) == (0, "")
    assert stderr_of(quiet, TF_CPP_MIN_LOG_LEVEL="0")[1] != ""  # who asks for the log gets it
    assert stderr_of(f"import kerascnn; kerascnn.create_model; {use}")[1] != ""  # the library silences nobody


def test_what_is_no_chatter_is_passed_on():
    code = """
import os, sys
from kerascnn import console
with console.quiet_start():
    print("a warning of Python's", file=sys.stderr)
    os.write(2, b"I0000 00:00:1 port.cc] chatter\\nE0000 00:00:1 a real error\\n")
    raise ImportError("no such thing")
"""
    code, text = stderr_of(code)
    assert code == 1
    assert "a warning of Python's" in text and "a real error" in text and "ImportError: no such thing" in text
    assert "chatter" not in text


def test_fail_ends_with_one_line():
    assert stderr_of("from kerascnn import console; console.fail('so it is', 3)") == (3, "error: so it is\n")
