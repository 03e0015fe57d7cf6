"""The cards of MNIST, CIFAR-10 and ImageNet: each says what was published, and all that it asks for is there."""

import ast
import csv
import importlib
import re
from pathlib import Path

import pytest

import recipes
from kerascnn import create_model, registry
from kerascnn.data import augment, crop, mix
from kerascnn.data.preprocessing import MODES
from kerascnn.train import averages, losses
from kerascnn.train.optimizers import Update
from kerascnn.train.schedules import make_schedule

# What each data set is called in a card's name; how many images it has to train on, and classes.
DATA = {
    "mnist": ("tfds:mnist", 60_000, 10),
    "cifar10": ("tfds:cifar10", 50_000, 10),
    "imagenet": ("tfds:imagenet2012", 1_281_167, 1000),
}
# The outputs of models with auxiliary classifiers.
HEADS = {"googlenet": 3, "inception_v3": 2, "nasnet_mobile": 2}
OUR_OWN = {"cifar10_fast"}  # no paper's numbers
NAMES = sorted(
    path.stem
    for path in Path(recipes.__file__).parent.glob("*.py")
    if path.stem.partition("_")[0] in DATA and path.stem not in OUR_OWN
)
with open(Path(__file__).parent.parent / "golden/recipes.csv", newline="", encoding="utf-8") as lines:
    ROWS = list(csv.DictReader(lines))
ALWAYS = {"epochs", "batch_size", "learning_rate", "weight_decay", "optimizer", "top1"}

every_card = pytest.mark.parametrize("name", NAMES)


def card(name):
    """(the module's docstring, its recipe)"""
    module = importlib.import_module(f"recipes.{name}")
    return module.__doc__, module.RECIPE


def steps_of(name, recipe):
    return DATA[name.partition("_")[0]][1] // recipe.batch_size


@every_card
def test_each_number_is_the_published_one_or_said_to_be_another(name):
    text, recipe = card(name)
    for row in [row for row in ROWS if row["recipe"] == name]:
        assert re.search(r"https?://\S+\.\S+", row["source"]), row
        if row["field"] == "top1":
            assert f"\nPublished: {row['published']} % of the " in text
        elif row["field"] == "steps":
            steps = steps_of(name, recipe)
            assert abs(recipe.epochs * steps - int(row["published"])) < steps, row
        else:
            value, expected = getattr(recipe, row["field"]), row["card"] or row["published"]
            assert value == (expected if isinstance(value, str) else ast.literal_eval(expected)), row
        if row["card"]:
            assert row["card"] != row["published"], row
            assert re.search("Differs from|[Ww]hat (else )?differs|names no|[Ww]hat is said", text), row


def test_every_card_is_in_the_table_with_all_that_matters():
    held = {name: {row["field"] for row in ROWS if row["recipe"] == name} for name in {row["recipe"] for row in ROWS}}
    assert sorted(held) == NAMES
    assert {name: ALWAYS - fields for name, fields in held.items() if ALWAYS - fields} == {}
    assert len({(row["recipe"], row["field"]) for row in ROWS}) == len(ROWS)


@every_card
def test_a_card_has_its_title_command_paper_and_both_accuracies(name):
    text, recipe = card(name)
    title, blank, command, blank_too, *rest = text.splitlines()
    assert title.endswith(".") and blank == blank_too == ""
    assert re.fullmatch(rf"    python -m recipes\.{name} --data_dir=/data/tfds( --\w+=\w+)*", command)
    rest = "\n".join(rest)
    assert re.search(r"https://(arxiv\.org/abs|papers\.nips\.cc|doi\.org|github\.com|pytorch\.org)/\S+", rest)
    assert rest.count("\nPublished: ") == rest.count("\nExpected: ") == 1
    dataset, _, model = name.partition("_")
    assert recipe.data == DATA[dataset][0]
    assert recipe.test_split == ("validation" if dataset == "imagenet" else "test")
    assert model.split("_")[0] == recipe.model.split("_")[0]


@pytest.fixture(scope="module")
def lenet():
    return create_model("lenet5")


@every_card
def test_every_text_of_a_card_is_understood(name, lenet):
    _, recipe = card(name)
    classes = DATA[name.partition("_")[0]][2]
    size, channels = recipe.image_size or 32, 1 if recipe.data == "tfds:mnist" else 3
    spec = registry.override(
        registry.lookup(recipe.model),
        {**recipe.overrides(), "num_classes": classes, "input_shape": (size, size, channels)},
    )
    crop.parse(recipe.crop)
    assert crop.parse(recipe.test_crop).draws == 0
    augment.parse(recipe.augment)
    assert recipe.preprocess in MODES
    mixer = mix.parse(recipe.mix)
    # Copies of each image, and pairs of images on each of eight replicas.
    assert recipe.batch_size % (16 if mixer.operations else 1) == 0
    schedule = make_schedule(
        recipe.schedule,
        learning_rate=recipe.learning_rate,
        epochs=recipe.epochs,
        steps_per_epoch=steps_of(name, recipe),
        warmup_epochs=recipe.warmup_epochs,
        cooldown_epochs=recipe.cooldown_epochs,
    )
    # A little below it, where the steps of EfficientNet's rate go on beneath the warm-up.
    highest = float(schedule(round(recipe.warmup_epochs * steps_of(name, recipe))))
    assert 0.8 * recipe.learning_rate < highest < 1.001 * recipe.learning_rate
    losses.Objective(
        recipe.loss,
        recipe.label_smoothing,
        classes=classes,
        heads=HEADS[recipe.model] if getattr(spec, "include_aux", False) else 1,
        aux_weight=recipe.aux_weight,
    )
    averages.parse(recipe.average)
    fields = ("optimizer", "weight_decay", "decoupled", "l1", "decay_all", "clip", "layer_decay")
    Update(lenet, **{field: getattr(recipe, field) for field in fields})


@pytest.mark.parametrize(("name", "outputs"), [("mnist_lenet5", 1), ("cifar10_resnet20", 1), ("imagenet_googlenet", 3)])
def test_the_model_of_a_card_is_built(name, outputs):
    _, recipe = card(name)
    model = create_model(recipe.model, **recipe.overrides())
    assert len(model.outputs) == outputs
