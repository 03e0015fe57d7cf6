"""What the tests of downloads share."""

import importlib.util
import pathlib
import sys

import pytest


def _module(name):
    # Tests are no package, and nothing imports tests.
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def double():
    """Models compute in float64, where made-up weights drive few of them into chaos."""
    import keras

    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])
    keras.backend.clear_session()


@pytest.fixture(scope="session")
def fake_hub():
    """The module tests/weights/fake_hub.py, for its FakeHub and Fault."""
    return _module("fake_hub")


@pytest.fixture
def hub(fake_hub, tmp_path, monkeypatch):
    """An empty hub that huggingface_hub, in this process, takes for the real one, with its cache in tmp_path/home.

    For other processes there is `hub.environment(home)`, as huggingface_hub reads its variables when it is imported.
    """
    import huggingface_hub
    from huggingface_hub import constants

    home = tmp_path / "home"
    with fake_hub.FakeHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.close_session()  # the next one looks for proxies again
        yield hub
        huggingface_hub.close_session()
