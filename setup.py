"""How kerascnn is packaged. What builds it, and the settings of the tools, stand in pyproject.toml."""

import ast
import pathlib
import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).parent

# The wheel carries these folders of the checkout inside the package, under these names.
CARRIED = {"kerascnn.recipes": "recipes", "kerascnn.tools": "tools"}

# Lower bounds: the versions that are tested together. Upper bounds only where a new major version is another library;
# anything tighter would keep users from fixes, and they could not undo it.
REQUIRES = [
    "tensorflow>=2.21,<3",
    "keras>=3.15.1,<4",
    "keras-cv>=0.9.0",
    "tensorflow-datasets>=4.9.10",
    "importlib-resources>=7.1",  # which tensorflow-datasets 4.9.10 uses and does not require
    "absl-py>=2.5",
    "numpy>=2.4",
    "h5py>=3.14",  # Keras's weight files
    "safetensors>=0.8",  # the weight files of others
    "huggingface-hub>=2.4",  # where most of them are
    "ml-dtypes>=0.5",  # bfloat16, for NumPy
    "scikit-learn>=1.9",  # the built-in digits
    "scipy>=1.17",  # quantiles of mixup's Beta
    "tqdm>=4.70",
    "tensorflow-serving-api>=2.21",  # the warm-up requests of a bundle
    "tensorboard>=2.21",  # without it tf.summary raises, and TensorFlow stopped requiring it
    # The report of a run.
    "matplotlib>=3.11",
    "jinja2>=3.1.6",
    "pillow>=13.0",
]
# `kerascnn serve`.
SERVE = [
    "starlette>=1.10",
    "uvicorn>=0.54",
    "prometheus-client>=0.26",
]
# `kerascnn export --formats=savedmodel,litert,onnx`.
FORMATS = [
    "ai-edge-litert>=2.3",
    "tf2onnx>=1.17",
    "onnx>=1.23",
    "onnxruntime>=1.31",
]
DEV = [
    *SERVE,
    *FORMATS,
    "openvino>=2026.4",  # which reads what we export
    "httpx>=0.28",  # a client for the server's tests
    "pytest>=9.2",
    "pytest-xdist>=3.8",  # `make test` on every core
    "ruff>=0.17.5",
    "mypy>=2.4",
    "pre-commit>=4.7",
    "build>=1.6",
    "jax>=0.10.2",  # the models are tested on its CPU build too
]


class CleanBuild(build_py):
    """Starts from an empty build folder: what an older build left there must not enter the wheel."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


def version():
    """`kerascnn.__version__`, read without importing what is not installed yet."""
    for node in ast.parse((HERE / "kerascnn/__init__.py").read_text("utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name("__version__")], value=ast.Constant(str(value))):
                return value
    raise SystemExit('kerascnn/__init__.py lacks a line such as __version__ = "1.2.3"')


def packages():
    yield from find_packages(HERE, include=["kerascnn", "kerascnn.*"])
    for package, folder in CARRIED.items():
        yield package
        yield from (f"{package}.{sub}" for sub in find_packages(HERE / folder))


setup(
    name="kerascnn",
    version=version(),
    description="A Keras 3 zoo of convolutional image classifiers, with training recipes and serving bundles.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=list(packages()),
    package_dir=CARRIED,
    package_data={
        "kerascnn": ["py.typed"],
        "": ["*.pyi"],
        "kerascnn.models": ["*.json"],
        "kerascnn.serve": ["*.html"],
        "kerascnn.weights": ["*.json"],
    },
    include_package_data=False,  # exactly the line above, whatever version control knows
    install_requires=REQUIRES,
    extras_require={"serve": SERVE, "formats": FORMATS, "dev": DEV},
    entry_points={"console_scripts": ["kerascnn = kerascnn.cli:main"]},
    cmdclass={"build_py": CleanBuild},
)
