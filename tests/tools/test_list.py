"""`kerascnn list`: what it leaves, in which order, and how it answers what is wrong. It reads facts, and no Keras."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from kerascnn import registry
from kerascnn.weights import catalog
from tools import list as tool

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1_000, "1.00K"),
        (61_706, "61.7K"),
        (999_600, "1.00M"),
        (25_610_152, "25.6M"),
        (253_149_824, "253M"),
        (4_089_184_256, "4.09G"),
        (99_960_000_000, "100G"),
        (1_234_000_000_000, "1234G"),
    ],
)
def test_short(number, text):
    assert tool.short(number) == text
    assert tool.amount(text) == pytest.approx(number, rel=0.005)


@pytest.mark.parametrize(
    ("text", "number"), [("25M", 25e6), ("1.5g", 1.5e9), ("800k", 8e5), ("1e6", 1e6), ("25_000", 25e3), (" 12 ", 12)]
)
def test_amount(text, number):
    assert tool.amount(text) == number


@pytest.mark.parametrize("text", ["", "M", "25MB", "-1", "1,000", "nan", "inf", "x"])
def test_no_amount(text):
    with pytest.raises(ValueError, match="is not a number such as 25M"):
        tool.amount(text)


def listed(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["kerascnn list", *arguments])
    tool.main()
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["model", "family", "input", "classes", "params", "macs"]
    assert len({len(row) for row in (heading, *rows)}) == 1  # aligned
    return [row.split()[0] for row in rows]


def test_all_models_in_the_order_of_the_zoo(monkeypatch, capsys):
    assert listed(monkeypatch, capsys) == list(registry.facts())


def test_a_pattern_and_a_family(monkeypatch, capsys):
    names = listed(monkeypatch, capsys, "resnet*_cifar")
    assert {"resnet20_cifar", "resnet110_cifar"} <= set(names) and "plain20_cifar" not in names
    family = listed(monkeypatch, capsys, "--family=cifar_resnet,lenet")
    assert {"lenet5", "plain20_cifar"} <= set(family) and "resnet50" not in family
    assert listed(monkeypatch, capsys, "--family=lenet") == ["lenet5"]


def test_limits(monkeypatch, capsys):
    facts = registry.facts()
    small = listed(monkeypatch, capsys, "--max_params=12M", "--max_macs=2G")
    assert small == [name for name, f in facts.items() if f["params"] <= 12e6 and f["macs"] <= 2e9]
    assert "resnet18" in small and "resnet34" not in small
    assert listed(monkeypatch, capsys, "--max_params=61706") == ["lenet5"]


@pytest.mark.parametrize("key", ["macs", "params"])
def test_sorted_by_a_number(key, monkeypatch, capsys):
    facts = registry.facts()
    numbers = [facts[name][key] for name in listed(monkeypatch, capsys, f"--sort={key}")]
    assert numbers == sorted(numbers) and len(numbers) == len(facts)


def test_other_libraries_names_find_ours(monkeypatch, capsys):
    assert listed(monkeypatch, capsys, "regnety_00[24]") == ["regnet_y_200mf", "regnet_y_400mf"]


def test_sorted_by_name_and_image_size(monkeypatch, capsys):
    names = listed(monkeypatch, capsys, "resnet*_cifar", "--sort=name")
    assert names[0] == "resnet20_cifar"
    assert names.index("resnet56_cifar") < names.index("resnet110_cifar")
    sizes = [registry.facts()[name]["input_shape"][0] for name in listed(monkeypatch, capsys, "--sort=image_size")]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("arguments", "offer"),
    [
        (["resnet99*"], "no model matches 'resnet99*'"),
        (["a", "b"], "one pattern"),
        (["--family=resnett"], "no family 'resnett': did you mean resnet"),
        (["--sort=mac"], "--sort=mac: did you mean macs"),
        (["--max_params=25MB"], "--max_params: '25MB' is not a number such as 25M"),
        (["--max_macs=x"], "--max_macs: 'x' is not a number"),
        (["resnet50", "--max_params=1M"], "none of the models that match 'resnet50' is within these limits"),
        (["lenet5", "--family=resnet"], "none of the models that match 'lenet5'"),
        (["--max_param=1M"], "max_params"),
        (["--weights", "resnet5O"], "no weights match 'resnet5O': did you mean resnet50"),
        (["--weights", "lenet5"], "nobody publishes weights of lenet5"),
        (["--weights", "a", "b"], "one pattern"),
        (["--weights", "--family=resnett"], "no family 'resnett'"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(arguments, offer, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kerascnn list", *arguments])
    with pytest.raises(SystemExit) as end:
        tool.main()
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and offer in errors


@pytest.mark.parametrize(("arguments", "name"), [(["lenet*"], "lenet5"), (["--weights", "vgg*"], "timm:vgg16.tv_in1k")])
def test_it_answers_without_keras(arguments, name):
    code = f"import sys; sys.argv = ['list', *{arguments}]; from tools import list; list.main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert done.returncode == 0 and name in done.stdout
    assert not {"keras", "tensorflow", "numpy", "jax"} & set(done.stdout.split())


def listed_weights(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["kerascnn list", "--weights", *arguments])
    tool.main()
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["weights", "model", "size", "crop", "top-1", "licence"]
    column = heading.index("licence")
    assert all(row[column - 2 : column] == "  " and row[column] != " " and row == row.rstrip() for row in rows)
    return [tuple(re.split(r"  +", row)) for row in rows]


def test_weights_in_the_order_of_the_zoo(monkeypatch, capsys):
    rows = listed_weights(monkeypatch, capsys)
    assert [row[:2] for row in rows] == [(checkpoint.source, checkpoint.model) for checkpoint in catalog.known()]
    assert ("timm:resnet50.a1_in1k", "resnet50", "224", "0.95", "80.38 at 224", "apache-2.0") in rows
    assert ("keras:imagenet", "mobilenet_v1_025", "224", "0.875", "-", "-") in rows


def test_weights_by_pattern_family_and_order(monkeypatch, capsys):
    by_model = listed_weights(monkeypatch, capsys, "resnet50")
    assert {row[1] for row in by_model} == {"resnet50"} and len(by_model) == len(catalog.known("resnet50"))
    assert {row[0] for row in listed_weights(monkeypatch, capsys, "keras:*")} == {"keras:imagenet"}
    assert listed_weights(monkeypatch, capsys, "*tv2_in1k") == listed_weights(monkeypatch, capsys, "timm:*.tv2_in1k")
    vgg = listed_weights(monkeypatch, capsys, "--family=vgg", "--sort=macs")
    assert vgg[0][1] == "vgg11" and vgg[-1][1] == "vgg19_bn"


@pytest.mark.parametrize(
    ("top1", "size", "text"),
    [(80.382, 224, "80.38 at 224"), (71.3, 224, "71.3 at 224"), (70.0, None, "70.0"), (None, None, "-")],
)
def test_accuracy(top1, size, text):
    assert tool.accuracy(top1, size) == text
