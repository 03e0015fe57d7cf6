"""The picture of what a recipe makes of its images: drawn from real data by the real command."""

import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from tools import data


def preview(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "kerascnn.cli", "data", "preview", *arguments], capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_recipe_with_more_than_it_has(data_dir, tmp_path):
    """Every step is in it; an epoch more is a column more, an image more a row."""
    shapes = {}
    for images, epochs in ((2, 1), (2, 2), (4, 1)):
        out = tmp_path / f"{images}{epochs}.png"
        done = preview(
            "--recipe=digits_resnet20",
            f"--data_dir={data_dir}",
            "--crop=pad(pixels=1)",
            "--mix=cutmix(mode='pair')",
            f"--images={images}",
            f"--epochs={epochs}",
            f"--out={out}",
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{out}: {images} images of digits train, {epochs} epochs of each\n"
        picture = matplotlib.image.imread(out)
        shapes[images, epochs] = picture.shape
        assert picture[..., :3].std() > 0.1 and len(np.unique(picture[..., :3].round(2))) > 20
    assert shapes[2, 2][1] > shapes[2, 1][1] and shapes[2, 2][0] == shapes[2, 1][0]
    assert shapes[4, 1][0] > shapes[2, 1][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a --recipe, or --data."),
        (["--recipe=digits_resnet2"], "did you mean digits_resnet20"),
        (["--recipe=digits_resnet20", "--out=x.jpeg"], "must end in .png, .svg, .pdf"),
        (["--recipe=digits_resnet20", "--augment=afine"], "did you mean affine"),
        (["--recipe=digits_resnet20", "--train_split=dev"], "has no split 'dev'"),
        (["digits"], "'digits' is not a flag"),
    ],
)
def test_wrong_input(arguments, message, data_dir, monkeypatch, capsys):
    places = [f"--data_dir={data_dir}"] if len(arguments) == 2 else []
    monkeypatch.setattr(sys, "argv", ["kerascnn data", "preview", *arguments, *places])
    with pytest.raises(SystemExit) as end:
        data.main()
    errors = capsys.readouterr().err
    assert end.value.code == 2 and message in errors and errors.count("\n") == 1
