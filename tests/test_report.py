"""The report is one whole HTML file, true to its figures, and safe to open."""

import base64
import html.parser
import io
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

import matplotlib
import numpy as np
import PIL.Image
import pytest

from kerascnn import report

VOID = {"meta", "link", "img", "br"}
NAN = math.nan
SCRIPT = "<script>alert(1)</script>"


class Page(html.parser.HTMLParser):
    """Elements as (tag, attributes, text of the element and all in it), in the order in which they start."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {[element[0] for element in self.open]}"

    def handle_starttag(self, tag, attributes):
        element = [tag, dict(attributes), ""]
        assert len(attributes) == len(element[1]), f"an attribute twice in {self.get_starttag_text()}"
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, f"</{tag}> closes <{self.open[-1][0]}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def attributes(self, tag):
        return [element[1] for element in self.elements if element[0] == tag]

    def texts(self, tag):
        return [" ".join(element[2].split()) for element in self.elements if element[0] == tag]


def epochs(number):
    """A made-up history of `number` epochs."""
    return [
        {
            "epoch": i + 1.0,
            "step": 23.0 * (i + 1),
            "learning_rate": 0.05 * (1 + math.cos(math.pi * (i + 1) / number)),
            "train_loss": 0.5 + 2 / (1 + i),
            "train_accuracy": 1 - 0.6 / (1 + i),
            "test_loss": 0.02 + 2 / (1 + i),
            "test_accuracy": 1 - 0.7 / (1 + i),
            "images_per_second": 2900.0,
            "seconds": 0.5,
        }
        for i in range(number)
    ]


def mistake(**changes):
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    return {"image": image, "label": "8", "prediction": "1", "score": 0.931, "index": 117, **changes}


def confusion(classes=10, images=36, **wrong):
    """A matrix with `images` of each class, all right but for wrong counts such as c8_1=3 (three 8 taken for 1)."""
    counts = np.eye(classes, dtype=int) * images
    for pair, count in wrong.items():
        i, j = (int(number) for number in pair[1:].split("_"))
        counts[i, j] += count
        counts[i, i] -= count
    return counts


@pytest.fixture
def training_page(tmp_path):
    """Writes a report with the given arguments in place of ordinary ones, and parses it."""

    def write(**changes):
        arguments = {
            "title": "digits_resnet20",
            "subtitle": "resnet20_cifar on the digits",
            "summary": {"Test accuracy": "98.9 %", "Parameters": "269,434"},
            "history": epochs(20),
            "confusion": confusion(c8_1=3, c4_9=1),
            "mistakes": [mistake(), mistake(index=3)],
            "recipe": {"recipe": {"model": "resnet20_cifar", "augment": {"shift": 1.0}}, "run": {"seed": 0}},
            **changes,
        }
        names = [str(i) for i in range(len(arguments["confusion"]))]
        path = tmp_path / "report.html"
        report.training_report(path, **{"class_names": names, **arguments})
        page = Page(path.read_text(encoding="utf-8"))
        page.path = path
        return page

    return write


def matrix_rows(page):
    """The cells of the confusion matrix, and the recall that ends each row."""
    rows = re.findall(r"<tr><th scope=\"row\" title.*?</tr>", page.path.read_text(), flags=re.DOTALL)
    return [[text or "0" for text in Page(f"<div>{row}</div>").texts("td")] for row in rows]


def line_heights(markup):
    """How high on the picture (0 to 1) each point of the first line of a chart stands."""
    height = float(re.search(r'viewBox="0 0 \S+ (\S+)"', markup)[1])
    line = re.search(r'<path d="([^"]*)"[^>]*stroke: var\(--(?:ink|series-0)\)', markup)[1]
    return [1 - float(y) / height for _, y in re.findall(r"[ML] (\S+) (\S+)", line)]


def test_page_has_title_tiles_charts_tables_and_images(training_page):
    page = training_page()
    assert page.texts("title") == ["digits_resnet20 · resnet20_cifar on the digits"]
    assert page.texts("h1") == ["digits_resnet20"]
    assert page.texts("h2") == ["Training", "Confusions", "Worst mistakes", "Recipe"]
    assert page.texts("dt")[:2] == ["Test accuracy", "Parameters"]
    assert page.texts("dd")[:2] == ["98.9 %", "269,434"]
    assert page.texts("h3") == ["Loss", "Accuracy", "Learning rate", "Speed", "Confusion matrix"]
    assert page.texts("caption") == ["Most confused pairs", "recipe", "run"]
    assert len(page.attributes("svg")) == 4
    assert page.attributes("html") == [{"lang": "en"}]


def test_every_picture_has_words(training_page):
    page = training_page()
    labels = [div["aria-label"] for div in page.attributes("div") if div.get("role") == "img"]
    assert labels[1] == (
        "Line chart of Accuracy (error on a log scale) by Epoch: "
        "test from 30.00\xa0% to 96.50\xa0%, train from 40.00\xa0% to 97.00\xa0%."
    )
    assert len(labels) == 4
    assert [image["alt"] for image in page.attributes("img")] == [
        "Test image 117: 8, predicted 1",
        "Test image 3: 8, predicted 1",
    ]
    axes = {"Epoch", "Loss", "Accuracy (error on a log scale)", "Learning rate", "Training images per second"}
    assert axes <= set(page.texts("text"))


def test_notes_say_what_the_curves_show(training_page):
    history = epochs(3)
    history[1]["test_accuracy"] = 0.9972
    notes = training_page(history=history).texts("figcaption")
    assert notes[0].endswith("Test loss 0.687 after epoch 3, the best of the run.")
    assert notes[1].endswith("Test accuracy 76.67 % after epoch 3; 99.72 % at best, after epoch 2.")
    assert notes[2].endswith("Highest in epoch 1: 0.075.")
    assert notes[3].endswith("2,900 images/s in the median epoch.")


def test_nothing_is_loaded_from_outside(training_page):
    page = training_page()
    text = page.path.read_text()
    for _, attributes, _ in page.elements:
        for name in {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"} & set(attributes):
            assert attributes[name].startswith(("#", "data:")), attributes
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", text))
    assert not {"script", "iframe", "object", "embed", "base"} & {element[0] for element in page.elements}
    policy = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_ids_are_unique_and_references_met(training_page):
    text = training_page(history=epochs(5)).path.read_text()  # few epochs are drawn with dots, which are references
    ids = re.findall(r'\bid="(.*?)"', text)
    assert ids and len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"#|url\(#)([^\")]*)", text)) <= set(ids)


def test_text_from_outside_stays_text(training_page):
    evil = [SCRIPT, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "$\\frac{", "'&amp;", *"56789"]
    page = training_page(
        class_names=evil,
        title=SCRIPT,
        subtitle=evil[1],
        summary={SCRIPT: evil[1]},
        confusion=confusion(c0_1=3, c1_2=1, c3_4=1),
        mistakes=[mistake(label=SCRIPT, prediction=evil[1])],
        recipe={SCRIPT: {evil[1]: SCRIPT}, evil[2]: evil[4]},
    )
    assert not page.attributes("script")
    assert len(page.attributes("img")) == 1
    assert not any("onerror" in attributes for _, attributes, _ in page.elements)
    assert page.texts("h1") == [SCRIPT]
    assert page.texts("caption") == ["Most confused pairs", SCRIPT]
    assert [
        header["title"] for header in page.attributes("th") if header.get("scope") == "row" and "title" in header
    ] == evil
    assert page.attributes("img")[0]["alt"] == f"Test image 117: {SCRIPT}, predicted {evil[1]}"
    assert "'&amp;" in page.texts("td") and "{{ 7 * 7 }}" in page.texts("th")


def test_names_of_series_stay_text():
    markup = report.line_chart("$x_", {SCRIPT: ([1, 2], [1, 2]), "_$b": ([1], [1])}, x_label="$a_", y_label="<b>")
    page = Page(markup)
    assert page.texts("li") == [SCRIPT, "_$b"]
    assert "$a_" in page.texts("text") and "<b>" in page.texts("text")


def test_names_that_are_not_unicode_are_written(training_page):
    page = training_page(recipe={"data": os.fsdecode(b"/data/\xff")})
    assert page.texts("td")[-1] == r"/data/\udcff"


def test_confusion_matrix_shows_each_count(training_page):
    counts = confusion(c8_1=3, c4_9=1)
    counts[5] = 0
    page = training_page(confusion=counts)
    recalls = ["100.0 %"] * 10
    recalls[4], recalls[5], recalls[8] = "97.2 %", "\u2013", "91.7 %"
    assert matrix_rows(page) == [[*map(str, row), recall] for row, recall in zip(counts, recalls, strict=True)]
    assert page.texts("figcaption")[4].startswith("Confusion matrix 320 of 324 test images right.")
    cells = {cell["title"]: cell for cell in page.attributes("td") if "title" in cell}
    wrong = cells["8, predicted 1: 3 of 36"]
    assert wrong["class"] == "wrong"
    assert cells["8, predicted 8: 33 of 36"]["class"] == "right"
    # A single mistake must be seen beside a full diagonal.
    assert wrong["style"] == "--tint: 33%" and cells["4, predicted 9: 1 of 36"]["style"] == "--tint: 28%"
    assert cells["0, predicted 0: 36 of 36"]["style"] == "--tint: 40%"


@pytest.mark.parametrize("classes, shown", [(2, True), (30, True), (31, False), (1000, False)])
def test_many_classes_are_listed_instead(training_page, classes, shown):
    counts = confusion(classes, images=50, c1_0=7, c0_1=2)
    page = training_page(confusion=counts, mistakes=[])
    assert ("Confusion matrix" in page.texts("h3")) == shown
    assert page.texts("caption")[0] == "Most confused pairs"
    assert ("Hardest classes" in page.texts("caption")) != shown
    pairs = page.path.read_text().split("Most confused pairs")[1]
    assert re.findall(r"<tr><td>(.*?)</td></tr>", pairs)[0] == (
        '1</td><td>0</td><td class="number">7</td><td class="number">14.0\xa0%'
    )
    assert page.path.stat().st_size < 150_000


def test_pairs_and_hardest_classes_are_sorted_and_limited():
    counts = confusion(40, images=10, c3_4=2, c5_6=5, c7_8=1)
    counts[9] = 0  # a class without test images is not a hard one
    names = [f"class {i}" for i in range(40)]
    pairs = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", report.confused_pairs(counts, names))
    assert pairs == [("class 5", "class 6"), ("class 3", "class 4"), ("class 7", "class 8")]
    assert len(re.findall("<tr><td>", report.confused_pairs(counts, names, limit=2))) == 2
    hard = re.findall(r"<tr><td>(.*?)</td>", report.hardest_classes(counts, names, limit=30))
    assert hard[:3] == ["class 5", "class 3", "class 7"] and len(hard) == 30
    assert "class 9" not in re.findall(r"<tr><td>(.*?)</td>", report.hardest_classes(counts, names, limit=99))


def test_no_mistakes(training_page):
    page = training_page(confusion=confusion(), mistakes=[])
    assert "No mistakes on the 360 test images." in page.texts("p")
    assert "Most confused pairs" not in page.texts("caption")
    assert not page.attributes("img")
    assert "No test images." in training_page(confusion=confusion(images=0), mistakes=[]).texts("p")


@pytest.mark.parametrize(
    "wrong, shown, text",
    [
        (4, 4, "4 mistakes on 360 test images:"),
        (4, 2, "4 mistakes on 360 test images; the 2 worst:"),
        (4, 1, "4 mistakes on 360 test images; the worst:"),
        (4, 0, "4 mistakes on 360 test images."),
        (1, 1, "1 mistake on 360 test images:"),
    ],
)
def test_mistakes_are_counted(training_page, wrong, shown, text):
    page = training_page(confusion=confusion(c8_1=wrong), mistakes=[mistake()] * shown)
    assert text in page.texts("p")
    assert len(page.attributes("img")) == shown


@pytest.mark.parametrize("shape, size", [((8, 8, 1), (8, 8)), ((5, 9, 3), (9, 5)), ((300, 600, 3), (256, 128))])
def test_images_are_shown_as_they_are(shape, size):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (attributes,) = Page(report.gallery([mistake(image=image)])).attributes("img")
    kind, data = attributes["src"].split(",")
    assert kind == "data:image/png;base64"
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == size
    if max(shape) <= 256:
        np.testing.assert_array_equal(np.asarray(picture).reshape(shape), image)
    assert (attributes.get("class") == "small") == (max(shape) < 128)  # scaled up crisply


def test_gallery_says_label_prediction_and_score():
    page = Page(report.gallery([mistake(score=0.99999)]))
    assert list(zip(page.texts("dt"), page.texts("dd"), strict=True)) == [
        ("Label", "8"),
        ("Prediction", "1"),
        ("Score", "99.9 %"),
        ("Image", "117"),
    ]


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 1)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)],
    ids=["float", "2d", "rgba"],
)
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match=r"uint8 \[height, width, 1 or 3\]; this one is .*8, 8"):
        report.gallery([mistake(image=image)])


def test_wrong_number_of_class_names_is_refused(training_page):
    with pytest.raises(ValueError, match=r"\[10, 10\], but there are 2 class names"):
        training_page(class_names=["a", "b"])


def test_recipe_is_shown_in_tables():
    page = Page(report.properties({"seed": 0, "recipe": {"augment": {"shift": {"x": 1.0}, "none": {}}, "rate": 1e-4}}))
    assert page.texts("caption") == ["recipe"]
    assert list(zip(page.texts("th"), page.texts("td"), strict=True)) == [
        ("seed", "0"),
        ("augment.shift.x", "1.0"),
        ("augment.none", "{}"),
        ("rate", "0.0001"),
    ]


@pytest.mark.parametrize("rows", [0, 1, 2, 600])
def test_history_of_any_length(training_page, rows):
    page = training_page(history=epochs(rows))
    assert len(page.attributes("svg")) == (4 if rows else 0)
    assert page.texts("summary") == {0: [], 1: ["The epoch in numbers"]}.get(rows, [f"All {rows} epochs in numbers"])
    if rows:
        assert page.texts("details")[0].count("2,900") == rows
    else:
        assert "No epoch was recorded." in page.texts("p")


def test_holes_in_the_history(training_page):
    """Tested every fifth epoch, diverged at the end."""
    history = epochs(20)
    for i, row in enumerate(history):
        if i % 5 != 4:
            row["test_loss"] = row["test_accuracy"] = NAN
    history[18]["train_loss"] = NAN
    history[19]["train_loss"] = math.inf
    page = training_page(history=history)
    loss, accuracy = page.texts("figcaption")[:2]
    assert loss.endswith(
        "Test loss 0.120 after epoch 20, the best of the run. Train loss not finite in 2 of 20 epochs, first in 19."
    )
    assert accuracy.endswith("Test accuracy 96.50 % after epoch 20, the best of the run.")
    assert not re.search(r"\bnan\b", page.path.read_text(), flags=re.IGNORECASE)
    chart = report.line_chart("Loss", {"test": ([1, 2, 3, 4], [3, NAN, math.inf, 1])}, x_label="Epoch", y_label="Loss")
    assert len(line_heights(chart)) == 2  # The line goes on where there are numbers.


def test_nothing_measured(training_page):
    page = training_page(history=[{"epoch": 1.0}, {"epoch": 2.0, "train_loss": NAN}])
    assert not page.attributes("svg")
    assert page.texts("figcaption")[:4] == [
        "Loss Test loss not measured. Train loss not finite in 2 of 2 epochs, first in 1.",
        "Accuracy Test accuracy not measured.",
        "Learning rate",
        "Speed",
    ]


@pytest.mark.parametrize(
    "values",
    [[1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.1, 0.1001], [0.97, 0.975, 0.976], [0.0, 0.99999], [0.5, 1 - 1e-12]],
)
@pytest.mark.parametrize("scale", ["linear", "log", "accuracy"])
def test_axes_hold_any_accuracy(values, scale):
    chart = report.line_chart("A", {"a": (range(len(values)), values)}, x_label="Epoch", y_label="y", scale=scale)
    shown = [value for value in values if value > 0 or scale != "log"]
    if not shown:
        assert not Page(chart).attributes("svg")
        return
    heights = line_heights(chart)
    assert len(heights) == len(shown)
    assert heights == sorted(heights)
    assert all(0 < height <= 1 for height in heights)
    labels = Page(chart).texts("text")
    ticks = labels[labels.index("Epoch") + 1 : -1]
    assert ticks and len(ticks) == len(set(ticks))


def test_last_mistakes_stay_apart():
    """From 10 % at the start, a report still has to tell 99.4 from 99.7 %."""
    accuracies = [0.1, 0.5, 0.9, 0.97, 0.994, 0.997, 1.0]
    chart = report.line_chart("A", {"a": (range(7), accuracies)}, x_label="Epoch", y_label="y", scale="accuracy")
    steps = np.diff(line_heights(chart))
    assert (steps > 0.05).all()
    texts = Page(chart).texts("text")
    assert "99 %" in texts and "90 %" in texts and "100 %" in texts


def test_bands_are_drawn_in_their_colour_and_held_by_the_axis():
    lines = {"a": ([1, 2, 3], [1, NAN, 3]), "b": ([1, 2, 3], [2, 2, 2])}
    bands = {"a": ([0, NAN, 2], [2, NAN, 8])}
    plain = report.line_chart("A", lines, x_label="Epoch", y_label="y")
    banded = report.line_chart("A", lines, x_label="Epoch", y_label="y", bands=bands)
    assert "8" not in Page(plain).texts("text") and "8" in Page(banded).texts("text")
    filled = [re.findall(r"fill: var\(--series-0\); fill-opacity: (\S+?)[;\"]", chart) for chart in (plain, banded)]
    assert filled == [[], ["0.15"]]


def test_poor_accuracies_have_an_even_axis():
    accuracies = [0.1, 0.2, 0.3, 0.4]
    chart = report.line_chart("A", {"a": (range(4), accuracies)}, x_label="Epoch", y_label="y", scale="accuracy")
    steps = np.diff(line_heights(chart))
    assert steps.max() < 1.3 * steps.min()


@pytest.mark.parametrize(
    "value, text",
    [(0.9944, "99.44 %"), (1, "100.00 %"), (0.999999, "99.99 %"), (0, "0.00 %"), (1e-9, "0.00 %"), (NAN, "\u2013")],
)
def test_percent(value, text):
    assert report.percent(value).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    "value, text",
    [
        (269434, "269,434"),
        (np.int64(7), "7"),
        (99.96, "100"),
        (31.44, "31.4"),
        (0.03868, "0.0387"),
        (0.0, "0"),
        (-2e6, "-2,000,000"),
        (NAN, "\u2013"),
        (math.inf, "inf"),
    ],
)
def test_number(value, text):
    assert report.number(value) == text


def test_same_run_same_bytes_whatever_the_settings_of_matplotlib(training_page):
    before = training_page().path.read_bytes()
    with matplotlib.rc_context({"axes.labelsize": 30, "axes.grid": True, "lines.marker": "x", "svg.fonttype": "path"}):
        settings = dict(matplotlib.rcParams)
        assert training_page().path.read_bytes() == before
        assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_failed_write_leaves_the_older_file(training_page, monkeypatch, broken):
    path = training_page().path
    older = path.read_bytes()

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        training_page(title="newer")
    assert path.read_bytes() == older
    assert os.listdir(path.parent) == ["report.html"]


def test_write_replaces_and_obeys_the_umask(tmp_path):
    path = tmp_path / "report.html"
    report.write(path, "old")
    mask = os.umask(0o027)
    try:
        report.write(str(path), "new")
    finally:
        os.umask(mask)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["report.html"]


def test_path_below_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        report.write(tmp_path / "file" / "report.html", "text")


def test_import_is_light():
    code = (
        "import sys, kerascnn.report; print(*{'keras', 'tensorflow', 'matplotlib', 'jinja2', 'PIL'} & set(sys.modules))"
    )
    root = pathlib.Path(report.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")


# Inside the network


def looks(layers=4, steps=10, **columns):
    """Names and rows of made-up steps that were looked at; each layer updates a tenth as much as the one before."""
    step = 1.0 + 50 * np.arange(steps)
    made = {"gradient_norm": np.full(steps, 2.0)}
    made |= {f"update_ratio/conv{i}": np.full(steps, 10.0**-i) for i in range(layers)}
    made |= {f"activation_mean/act{i}": np.zeros(steps) for i in range(layers)}
    made |= {f"dead_share/act{i}": np.zeros(steps) for i in range(layers)}
    made |= {name.replace("__", "/"): np.broadcast_to(values, steps) for name, values in columns.items()}
    return tuple(made), np.stack([step, *made.values()], axis=1)


def inside(page):
    """The notes of the charts, by their titles."""
    notes = [text for text in page.texts("figcaption") if text.split(" ")[0] in ("Update", "Gradient", "Dead")]
    return {text.split(" ")[0]: text for text in notes}


def test_no_section_where_nothing_was_watched(training_page):
    names, rows = looks()
    for watched in (None, (names, rows[:0])):
        assert "Inside the network" not in training_page(watched=watched).texts("h2")


def test_updates_gradients_and_dead_units_are_drawn(training_page):
    norm = [2.0, 2, 2, 9, 2, 2, math.inf, NAN, 2, 2]
    page = training_page(watched=looks(gradient_norm=norm, dead_share__act2=np.arange(10) / 16))
    assert page.texts("h2")[1] == "Inside the network"
    notes = inside(page)
    assert notes["Update"].endswith(
        "Near the dashed 0.001 layers learn well. Median 0.055; least in conv3 (0.001), most in conv0 (1)."
    )
    assert notes["Gradient"].endswith("Largest in step 151: 9. Not finite in 2 of 10 steps.")
    assert notes["Dead"].endswith("In step 451 in 1 of 4 layers, most in act2: 56.2 %.")
    assert len(page.attributes("svg")) == 7
    labels = [div["aria-label"] for div in page.attributes("div") if div.get("role") == "img"][4:]
    assert labels[0] == "Line chart of the change of each of 4 layers' weights by step."
    assert labels[2].startswith("Heat map of the share of dead units in 4 layers by step.")
    assert {"conv0", "conv3", "1 %", "25 %", "100 %"} <= set(page.texts("li"))
    assert {"act0", "act1", "act2", "act3"} <= set(page.texts("text"))


def heat_map(markup):
    """Each cell as (left, right, row, tint), all but the tint as shares of the picture's inside."""
    ruler = re.findall(r'<path d="M (\S+) (\S+)\s*L (\S+) (\S+)\s*" clip-path="[^"]*" style="fill: none', markup)
    left, right = float(ruler[0][0]), float(ruler[0][2])
    tops = [float(line[1]) for line in ruler]
    cells = []
    for path, tint in re.findall(r'<path d="([^"]*)"[^>]*fill: color-mix\(in srgb, var\(--wrong\) (\d+)%', markup):
        for corners in path.split("z")[:-1]:
            points = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", corners)]
            (x0, y0), (x1, _), (_, y1) = points[:3]
            row = sum(top <= (y0 + y1) / 2 for top in tops) - 1
            cells.append(
                (round((x0 - left) / (right - left), 3), round((x1 - left) / (right - left), 3), row, int(tint))
            )
    return sorted(cells, key=lambda cell: (cell[2], cell[0]))


def test_each_cell_of_the_dead_units_is_where_it_belongs(training_page):
    shares = np.array([0, 0, 0.01, 0.01, 0.25, 1.0])
    watched = looks(3, 6, dead_share__act0=1 / 512, dead_share__act2=shares)
    text = training_page(watched=watched).path.read_text()
    figure = text[text.index("<h3>Dead units") :].split("</figure>")[0]
    few, quarter, all_ = 20, 54, 100
    assert heat_map(figure) == [
        (0, 1, 0, few),  # the smallest share has a tint, too
        (0.3, 0.7, 2, few),
        (0.7, 0.9, 2, quarter),
        (0.9, 1, 2, all_),
    ]


def test_nothing_dead(training_page):
    page = training_page(watched=looks())
    assert "No dead units in the 4 layers that may have them." in page.texts("p")
    assert "Dead" not in inside(page)
    names, rows = looks()
    alive = [not name.startswith("dead_share") for name in names]
    page = training_page(watched=([name for name in names if "dead" not in name], rows[:, [True, *alive]]))  # tanh
    assert "dead" not in page.path.read_text().lower()


@pytest.mark.parametrize("layers, steps, svgs", [(1, 1, 7), (49, 900, 7), (190, 12, 7)])
def test_any_number_of_layers_and_steps(training_page, layers, steps, svgs):
    random = np.random.default_rng(0)
    names, rows = looks(layers, steps)
    rows[:, 1:] = random.random((steps, len(names)))
    page = training_page(watched=(names, rows))
    assert len(page.attributes("svg")) == svgs
    assert page.path.stat().st_size < 1_000_000
    labels = [text for text in page.texts("text") if text.startswith("act")]
    assert labels[0] == "act0" and len(labels) >= min(layers, 40)
    assert ("Each point is the mean of about 3 steps" in inside(page)["Gradient"]) == (steps == 900)


def test_updates_that_no_log_axis_holds(training_page):
    watched = looks(2, 3, update_ratio__conv0=[math.inf, 0, 0.5], update_ratio__conv1=0)
    page = training_page(watched=watched)
    assert inside(page)["Update"].endswith("Median 0.5; least in conv0 (0.5), most in conv0 (0.5).")
    page = training_page(watched=looks(2, 3, update_ratio__conv0=NAN, update_ratio__conv1=0, gradient_norm=NAN))
    assert "No layer's weights changed in the steps that were looked at." in page.texts("p")
    assert inside(page)["Gradient"].endswith("Not finite in 3 of 3 steps.")
    assert not re.search(r"\bnan\b", page.path.read_text(), flags=re.IGNORECASE)


def test_averaged_weights_stand_beside_the_others(training_page):
    plain = training_page()
    assert "average" not in plain.path.read_text().lower()
    history = epochs(20)
    for i, row in enumerate(history):
        row["average_loss"], row["average_accuracy"] = (NAN, NAN) if i < 15 else (0.1, 0.95 + i / 1000)
    page = training_page(history=history)
    assert page.texts("li").count("test, weights averaged") == 2
    assert page.texts("figcaption")[1].endswith(
        "Test accuracy 96.50 % after epoch 20, the best of the run. "
        "Averaged test accuracy 96.90 % after epoch 20, the best of the run."
    )
    headings = page.texts("th")
    assert "Averaged test loss" in headings and "Averaged test accuracy" in headings
    assert "96.90 %" in [text.replace("\xa0", " ") for text in page.texts("td")]


# In a browser


@pytest.fixture
def chromium(tmp_path):
    """Opens a page: returns what is printed, and what went to the browser's console."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("There is no chromium on this machine. Type: apt-get install chromium")
    quiet = "--no-first-run --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"

    def open_page(path, *options):
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", *quiet.split(), "--enable-logging=stderr"]
        command += [f"--user-data-dir={tmp_path / 'chromium'}", *options, path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return open_page


def test_chromium_is_asked_for_when_missing(monkeypatch, request):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        request.getfixturevalue("chromium")


@pytest.mark.system
@pytest.mark.parametrize(
    "scheme, paper, line", [(1, (255, 255, 255), (36, 99, 209)), (0, (20, 23, 27), (116, 167, 255))]
)
def test_page_is_drawn_in_light_and_dark(training_page, chromium, tmp_path, scheme, paper, line):
    green, purple = (0, 255, 0), (255, 0, 255)
    chessboard = np.where(np.indices((8, 8)).sum(axis=0)[..., None] % 2, green, purple).astype(np.uint8)
    page, picture = training_page(mistakes=[mistake(image=chessboard)]), tmp_path / "picture.png"
    size = ["--window-size=1280,2400", f"--blink-settings=preferredColorScheme={scheme}"]
    _, console = chromium(page.path, f"--screenshot={picture}", *size)
    assert console == []
    colors = {color: count for count, color in PIL.Image.open(picture).convert("RGB").getcolors(1 << 24)}
    assert max(colors, key=colors.get) == paper
    assert colors.get(line, 0) > 500  # The two keys of the legends are 120 of these pixels.
    assert colors[green] + colors[purple] > 0.95 * 128**2  # scaled up, and hardly anything between the two colours


@pytest.mark.system
@pytest.mark.parametrize("width", [360, 700, 1400])
def test_page_fits_its_window(training_page, chromium, tmp_path, width):
    names = [f"a rather long name, number {i}" for i in range(25)]
    mistakes = [mistake(label=names[1], prediction="Donaudampfschifffahrtsgesellschaftskapitän")]
    counts, watched = confusion(25, c1_2=3), looks(49, dead_share__act7=0.5)
    page = training_page(confusion=counts, class_names=names, mistakes=mistakes, watched=watched)
    frame = tmp_path / "frame.html"
    source = html.escape(page.path.read_text())
    frame.write_text(
        f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{source}"></iframe>'
        "<script>onload = () => document.title = frames[0].document.documentElement.scrollWidth</script>"
    )
    document, _ = chromium(frame, "--dump-dom")
    assert re.search("<title>(.*?)</title>", document)[1] == str(width)


@pytest.mark.system
def test_browser_refuses_what_slipped_in(chromium, tmp_path):
    """Both that the policy holds, and that the test above would see a message in the console."""
    path = tmp_path / "page.html"
    path.write_text(report.page("Title", "subtitle").replace("<main>", "<main><script>document.title = 'run'</script>"))
    document, console = chromium(path, "--dump-dom")
    assert "<title>Title · subtitle</title>" in document
    assert len(console) == 1 and "Content Security Policy" in console[0]
