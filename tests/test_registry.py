import dataclasses
import typing

import pytest

from kerascnn import registry
from kerascnn.registry import Rate, Size, Spec


@dataclasses.dataclass(frozen=True)
class Toy(Spec):
    depths: tuple[Size, ...]
    drop_path: Rate = 0.0
    se: bool = False

    @property
    def min_size(self):
        return 8


def build(spec, x):
    return x


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(registry, "_VARIANTS", {})
    monkeypatch.setattr(registry, "_ALIASES", {})
    rows = {"toy20": Toy((3, 3)), "toy8": Toy((1, 1), se=True), "bear": Toy((2,))}
    registry.register(build, build, rows, paper="https://example.org", aliases={"toy_eight": "toy8"})


def override(**fields):
    return registry.override(registry.lookup("toy20"), fields)


def test_models_are_listed_as_registered(toys):
    assert registry.list_models() == ["toy20", "toy8", "bear"]
    assert registry.list_models("toy*") == ["toy20", "toy8"]
    assert registry.list_models("cat*") == []


def test_lookup(toys):
    variant = registry.lookup("toy8")
    assert (variant.name, variant.paper, variant.spec) == ("toy8", "https://example.org", Toy((1, 1), se=True))
    assert variant.family == __name__.rpartition(".")[2]


@pytest.mark.parametrize("name", ["bear", "toy_eight"])
def test_a_name_is_registered_once(toys, name):
    with pytest.raises(ValueError, match=rf"the model {name} .* is registered already"):
        registry.register(build, build, {name: Toy((1,))}, paper="")
    with pytest.raises(ValueError, match=rf"the model {name} .* is registered already"):
        registry.register(build, build, {"new": Toy((1,))}, paper="", aliases={name: "new"})


def test_an_alias_is_looked_up_and_not_listed(toys):
    assert registry.lookup("toy_eight") is registry.lookup("toy8")
    assert registry.lookup("toy8").aliases == ("toy_eight",)
    assert (registry.our_name("toy_eight"), registry.our_name("xyzzy")) == ("toy8", "xyzzy")
    assert "toy_eight" not in registry.list_models()


@pytest.mark.parametrize("name", ["toy2", "TOY20", "toi20"])
def test_a_wrong_name_offers_the_close_ones(toys, name):
    with pytest.raises(ValueError, match=rf"^no model '{name}': did you mean .*toy20"):
        registry.lookup(name)


def test_a_wrong_alias_offers_the_close_ones(toys):
    with pytest.raises(ValueError, match="did you mean toy_eight"):
        registry.lookup("toy_eigth")


def test_a_name_like_no_other_offers_all(toys):
    with pytest.raises(ValueError, match=r"no model 'xyzzy': choose toy20, toy8, bear or toy_eight$"):
        registry.lookup("xyzzy")


def test_override(toys):
    spec = override(depths=[4, 5], dropout=0, num_classes=0, pooling=None, input_shape=(None, None, 1))
    assert spec == Toy((4, 5), dropout=0.0, num_classes=0, pooling=None, input_shape=(None, None, 1))
    assert isinstance(spec.dropout, float)
    assert registry.lookup("toy20").spec == Toy((3, 3)), "the row itself stays"


def test_a_wrong_field_offers_the_close_ones(toys):
    with pytest.raises(ValueError, match=r"^toy20 has no field 'activaton': did you mean activation\? Its fields are "):
        override(activaton="relu")
    with pytest.raises(ValueError, match=r"^toy20 has no field 'xyzzy': choose num_classes, .* drop_path or se$"):
        override(xyzzy=1)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"depths": "3,3"}, r"depths must be tuple\[int, ...\], not '3,3'"),
        ({"depths": 3}, r"depths must be tuple\[int, ...\], not 3"),
        ({"depths": (3, 2.5)}, r"depths must be tuple\[int, ...\], not \(3, 2.5\)"),
        ({"depths": (3, 0)}, r"depths must be 1 or more, not \(3, 0\)"),
        ({"num_classes": "ten"}, "num_classes must be int, not 'ten'"),
        ({"num_classes": True}, "num_classes must be int, not True"),
        ({"num_classes": -1}, "num_classes must be 0 or more, not -1"),
        ({"dropout": "half"}, "dropout must be float, not 'half'"),
        ({"dropout": 1.0}, "dropout must be 0 or more, and less than 1, not 1.0"),
        ({"drop_path": float("nan")}, "drop_path must be 0 or more, and less than 1, not nan"),
        ({"se": 1}, "se must be bool, not 1"),
        ({"norm": "bacth"}, r"norm must be batch, group, layer, channel, instance or none, .*: did you mean batch\?"),
        ({"pooling": "sum"}, "pooling must be avg, max, catavgmax or None, not 'sum'$"),
        ({"pooling": None}, "pooling=None gives the feature map, which has no classes: set num_classes=0 too"),
        ({"input_shape": (32, 32)}, r"input_shape must be tuple\[int \| None, int \| None, int\], not \(32, 32\)"),
        ({"input_shape": (32, 32, None)}, "input_shape must be tuple"),
        ({"input_shape": (0, 32, 3)}, "input_shape must be 1 or more"),
        ({"input_shape": (32, 7, 3)}, "images must be 8x8 or larger, not 32x7"),
    ],
)
def test_a_wrong_value_is_answered_with_what_it_must_be(toys, fields, says):
    with pytest.raises(ValueError, match=f"^toy20: {says}"):
        override(**fields)


def test_a_row_is_checked_too():
    with pytest.raises(ValueError, match="depths must be 1 or more"):
        Toy((3, 0))


@pytest.mark.parametrize(
    ("word", "names", "offer"),
    [
        ("epoch", ["epochs", "seed"], "did you mean epochs?"),
        ("Epochs", ["epochs", "seed"], "did you mean epochs?"),
        ("resnet", ["resnet18", "resnet34", "x"], "did you mean resnet34 or resnet18?"),
        ("xyzzy", ["a", "b", "c"], "choose a, b or c"),
        ("xyzzy", ["a"], "choose a"),
        ("xyzzy", [], "there are none"),
    ],
)
def test_close_names(word, names, offer):
    assert registry.close_names(word, names) == offer


def test_close_names_cuts_a_long_list():
    assert registry.close_names("xyzzy", [f"n{i}" for i in range(100)]).endswith(", n23, ... (100 in all)")


def test_every_hint_of_every_family_can_be_fitted():
    from kerascnn import models

    for name in models.list_models():
        spec = registry.lookup(name).spec
        assert dataclasses.replace(spec) == spec
        assert typing.get_type_hints(type(spec))
