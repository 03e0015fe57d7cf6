"""`kerascnn info`: the page of a model, with fields set otherwise, and the plot of all."""

import sys

import pytest
from PIL import Image

from kerascnn import registry
from kerascnn.weights import catalog
from tools import info


def told(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["kerascnn info", *arguments])
    info.main()
    return capsys.readouterr().out


def test_lenet5_in_full(monkeypatch, capsys):
    assert told(monkeypatch, capsys, "lenet5") == (
        "model                 lenet5\n"
        "family                lenet\n"
        f"paper                 {registry.lookup('lenet5').paper}\n"
        "input                 32x32x1\n"
        "classes               10\n"
        "parameters            61,706 (61,706 trainable)\n"
        "multiply-accumulates  416,520 for one image\n"
        "peak activations      37,632 bytes for one image in float32\n"
        "\n"
        "stage    output  parameters     macs   sees  stride\n"
        "stage1  14x14x6         156  117,600    6x6       2\n"
        "stage2   5x5x16       2,416  240,000  16x16       4\n"
        "head         10      59,134   58,920    all        \n"
    )


def test_other_libraries_names_find_ours(monkeypatch, capsys):
    lines = told(monkeypatch, capsys, "mobilenetv3_small_100", "--input_shape=32,32,3").splitlines()
    assert lines[0].startswith("model                 mobilenet_v3_small with")
    assert lines[1] == "also called           mobilenetv3_small_100"


def test_fields_are_flags(monkeypatch, capsys):
    text = told(monkeypatch, capsys, "--norm=none", "resnet20_cifar", "--input_shape=16,16,1", "--depths=[1, 1, 1]")
    assert "resnet20_cifar with input_shape=[16, 16, 1], norm=none, depths=[1, 1, 1]" in text
    assert "16x16x1" in text and "4x4x64" in text
    open_end = ("--num_classes=0", "--pooling=None", "--input_shape=16,16,3")
    assert "stage3    4x4x64" in told(monkeypatch, capsys, "resnet20_cifar", *open_end)
    assert "conv_bias=True" in told(monkeypatch, capsys, "resnet20_cifar", "--conv_bias")


def test_published_weights_stand_below(monkeypatch, capsys):
    text = told(monkeypatch, capsys, "mobilenet_v1", "--input_shape=32,32,3").partition("\n\nweights")[2]
    heading, *rows = (line.split() for line in text.splitlines())
    assert heading == ["size", "classes", "top-1", "licence"]
    assert [row[0] for row in rows] == [checkpoint.source for checkpoint in catalog.known("mobilenet_v1")]
    assert rows[-1] == ["keras:imagenet", "224", "1000", "70.4", "at", "224", "-"]


def test_help_shows_the_fields_of_the_model(monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        told(monkeypatch, capsys, "resnet20_cifar", "--help")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert "--depths=" in text and "(3, 3, 3) unless given" in text and "--plot=" in text


@pytest.mark.parametrize(
    ("arguments", "offer"),
    [
        ([], "give the name of one model"),
        (["resnet20_cifr"], "no model 'resnet20_cifr': did you mean resnet20_cifar"),
        (["lenet5", "resnet20_cifar"], "name of one model"),
        (["lenet5", "--plot=x.png"], "name of one model"),
        (["lenet5", "--norm=btach"], "norm must be"),
        (["lenet5", "--nrom=batch"], "norm"),
        (["lenet5", "--input_shape=8,8,1"], "images must be 16x16 or larger"),
        (["lenet5", "--num_classes=x"], "num_classes must be int"),
        (["resnet20_cifar", "--input_shape=None,None,3"], "stem_conv is not fixed: give complexity input_shape="),
        (["--plot=models.doc"], "must end in .png, .svg, .pdf"),
        (["--plot="], "must end in .png"),
        (["--plot=/dev/null/models.svg"], "--plot=/dev/null/models.svg"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(arguments, offer, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        told(monkeypatch, capsys, *arguments)
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and offer in errors


FEW = ("lenet5", "resnet20_cifar", "plain20_cifar", "resnet18", "resnet34", "resnet50", "resnet50d")


def test_the_plot_names_every_model(monkeypatch, capsys, tmp_path):
    facts = registry.facts()
    monkeypatch.setattr(registry, "facts", lambda: {name: facts[name] for name in FEW})
    assert told(monkeypatch, capsys, f"--plot={tmp_path}/a.svg") == f"{tmp_path}/a.svg: 7 models\n"
    svg = (tmp_path / "a.svg").read_text("utf-8")
    for name in (*FEW, "cifar_resnet", "4 models for images of 100 pixels and more"):
        assert f">{name}<" in svg
    told(monkeypatch, capsys, f"--plot={tmp_path}/a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3000, 1800)


def test_labels_keep_off_each_other():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(12, 8))
    axes.set(xlim=(0, 10), ylim=(0, 10))
    places = {f"crowded_{i}": (5 + i % 5 / 100, 5 + i // 5 / 100) for i in range(20)}
    figure.canvas.draw()
    assert info.label(axes, places, dict.fromkeys(places, (0, 0, 0, 1))) == []
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    plt.close(figure)
