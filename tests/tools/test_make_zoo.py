"""What `python -m tools.make_zoo` writes is current, and true."""

import json
import re
import sys

import pytest

import kerascnn
from kerascnn import registry
from tools import golden, make_zoo

FACTS = registry.facts()


def test_everything_it_writes_is_current():
    assert list(make_zoo.wrong(FACTS)) == [], "run python -m tools.make_zoo"


@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar"])
def test_facts_are_measured(name):
    assert make_zoo.measured(name) == FACTS[name]


@pytest.mark.parametrize("name", golden.quick())
def test_model_info_is_read_from_them(name, monkeypatch):
    monkeypatch.setattr(kerascnn.models, "create_model", None)  # nothing is built
    info = kerascnn.model_info(name)
    facts = FACTS[name]
    for fact in ("params", "trainable_params", "macs", "receptive_field", "peak_memory"):
        assert getattr(info, fact) == facts[fact]
    assert info.stages == tuple((stage, tuple(shape)) for stage, shape in facts["stages"].items())
    assert (info.name, info.family, info.paper) == (name, facts["family"], facts["paper"])
    assert info.image_size == info.input_shape[0] == facts["input_shape"][0]


def test_model_info_measures_what_the_file_lacks(monkeypatch):
    read = kerascnn.model_info("lenet5")
    monkeypatch.setattr(registry, "facts", dict)
    assert kerascnn.model_info("lenet5") == read == kerascnn.model_info("lenet5", measure=True)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The three files, elsewhere: those of two models."""
    names = ["lenet5", "resnet20_cifar"]
    for name in ("FACTS", "PAGE", "README"):
        monkeypatch.setattr(make_zoo, name, tmp_path / name)
    monkeypatch.setattr(registry, "list_models", lambda pattern="*": [n for n in names if pattern in ("*", n)])
    monkeypatch.setattr(registry, "facts", lambda: json.loads(make_zoo.FACTS.read_text("utf-8")))
    make_zoo.FACTS.write_text("{}", "utf-8")
    make_zoo.README.write_text(f"# A\n\n{make_zoo.BEGIN}\nold\n{make_zoo.END}\n\nB\n", "utf-8")
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["make_zoo", *arguments])
    make_zoo.main()


def test_it_writes_three_files_and_checks_them(files, monkeypatch, capsys):
    run(monkeypatch)
    assert registry.facts() == {name: FACTS[name] for name in ("lenet5", "resnet20_cifar")}
    page = make_zoo.PAGE.read_text("utf-8")
    row = "| `lenet5` | 32x32x1 | 61,706 | 61,706 | 417K | 16 | 37.6KB |"
    assert row in page and "## cifar_resnet" in page
    assert make_zoo.README.read_text("utf-8").splitlines() == [
        "# A",
        "",
        make_zoo.BEGIN,
        "| family | models | parameters | multiply-accumulates |",
        "|---|--:|--:|--:|",
        "| [lenet](docs/zoo.md#lenet) | 1 | 61.7K | 417K |",
        "| [cifar_resnet](docs/zoo.md#cifar_resnet) | 1 | 271K | 40.6M |",
        "| all | 2 | 61.7K to 271K | 417K to 40.6M |",
        make_zoo.END,
        "",
        "B",
    ]
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, "--check")
    assert not end.value.code

    facts = registry.facts()
    facts["resnet20_cifar"]["macs"] *= 2
    make_zoo.FACTS.write_text(make_zoo.facts_text(facts), "utf-8")
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, "--check")
    assert "PAGE is not what" in end.value.code and "run python -m tools.make_zoo" in end.value.code
    run(monkeypatch, "lenet5")  # takes the other as it stands
    assert registry.facts()["resnet20_cifar"]["macs"] == facts["resnet20_cifar"]["macs"]
    run(monkeypatch, "resnet20_cifar")
    assert registry.facts()["resnet20_cifar"] == FACTS["resnet20_cifar"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda facts: facts.pop("lenet5"), "has not the models that are registered: lenet5"),
        (lambda facts: facts.update(gone=facts["lenet5"]), "has not the models that are registered: gone"),
        (lambda facts: facts.update(lenet5=facts.pop("lenet5")), "has not the models that are registered: their order"),
        (lambda facts: facts["lenet5"].update(paper="x"), "lenet5 is not as its row in the table"),
        (lambda facts: facts["lenet5"].update(macs=1), "zoo.md is not what"),
        (lambda facts: facts["lenet5"].update(macs=1), "the table in .*README.md is not what"),
    ],
)
def test_what_is_not_current_is_said(change, says, monkeypatch):
    monkeypatch.setattr(registry, "list_models", lambda: list(FACTS))
    facts = json.loads(json.dumps(FACTS))
    change(facts)
    assert any(re.search(says, line) for line in make_zoo.wrong(facts))


@pytest.mark.parametrize(
    ("paper", "text"),
    [
        ("https://arxiv.org/abs/1512.03385", "arXiv:1512.03385"),
        ("https://doi.org/10.1109/5.726791", "doi:10.1109/5.726791"),
        ("https://papers.nips.cc/paper/4824-imagenet", "papers.nips.cc"),
    ],
)
def test_links(paper, text):
    assert make_zoo.link(paper) == f"[{text}]({paper})"


def test_a_readme_without_the_markers():
    with pytest.raises(ValueError, match="lacks the lines <!-- zoo: begin --> and <!-- zoo: end -->"):
        make_zoo.with_table("# A\n", "table")
