"""The models, as a table: their size of image and classes, parameters, multiply-accumulates for one image.

kerascnn list ['PATTERN']     as in kerascnn list 'resnet*' --max_params=25M --sort=macs
kerascnn list --weights ['PATTERN']    the published weights of these models, or those whose source matches
"""

import fnmatch
import itertools
import json
import pathlib
import re

from absl import flags

from kerascnn import console, registry

SORTS = {
    "macs": lambda item: item[1]["macs"],
    "params": lambda item: item[1]["params"],
    "name": lambda item: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", item[0])],
    "image_size": lambda item: item[1]["input_shape"][0],
}
# Read as a file: kerascnn.weights waits for Keras.
CATALOG = pathlib.Path(registry.__file__).parent / "weights/catalog.json"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def short(number: float) -> str:
    """A number with three digits and a unit: 25610152 is 25.6M, 4089184256 is 4.09G."""
    for unit in ("", "K", "M"):
        digits = f"{number:.3g}" if number < 999.5 else ""
        if digits:
            return (digits if float(digits) >= 100 or not unit else f"{number:#.3g}") + unit
        number /= 1000
    return (f"{number:#.3g}" if number < 99.95 else f"{number:.0f}") + "G"


def amount(text: str) -> float:
    """What `short` writes, as a number; a ValueError where it is none."""
    found = re.fullmatch(r"(\d[\d_]*\.?\d*(?:e\d+)?)([KMG]?)", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is not a number such as 25M, 1.5G or 800K")
    return float(found[1]) * UNITS[found[2].upper()]


def select(facts, values, pattern):
    """The models that the pattern and the flags leave, in their order; ends the process for what is none."""
    limits = {}
    for flag in ("max_params", "max_macs"):
        if values[flag].value is not None:
            try:
                limits[flag.removeprefix("max_")] = amount(values[flag].value)
            except ValueError as error:
                console.fail(f"--{flag}: {error}.")
    families = list(dict.fromkeys(fact["family"] for fact in facts.values()))
    for family in values.family:
        if family not in families:
            console.fail(f"no family {family!r}: {registry.close_names(family, families)}")
    if values.sort is not None and values.sort not in SORTS:
        console.fail(f"--sort={values.sort}: {registry.close_names(values.sort, SORTS)}")
    called = {name: (name, *fact["aliases"]) for name, fact in facts.items()}
    found = {name: fact for name, fact in facts.items() if fnmatch.filter(called[name], pattern)}
    if not found:
        known = itertools.chain.from_iterable(called.values())
        console.fail(f"no model matches {pattern!r}: {registry.close_names(pattern, known)}")
    found = {name: fact for name, fact in found.items() if not values.family or fact["family"] in values.family}
    found = {name: fact for name, fact in found.items() if all(fact[key] <= limits[key] for key in limits)}
    if not found:
        console.fail(f"none of the models that match {pattern!r} is within these limits: raise or leave out a flag.")
    return dict(sorted(found.items(), key=SORTS[values.sort])) if values.sort else found


def accuracy(top1: float | None, size: int | None) -> str:
    """A published top-1 with the size of the images, "80.38 at 224", or a dash where there is none."""
    return "-" if top1 is None else f"{round(top1, 2)}" + (f" at {size}" if size else "")


def side(size) -> str:
    """The size of images: 224, or 224x192 where they are not square."""
    return "x".join(map(str, dict.fromkeys(size)))


def published(models, pattern):
    """The lines of the table of published weights of these models; ends the process where the pattern matches none."""
    catalog = json.loads(CATALOG.read_text("utf-8"))["checkpoints"]
    rows = [(source, model, fields) for model in models for source, fields in catalog.get(model, {}).items()]
    names = [(model, source, source.partition(":")[2]) for source, model, _ in rows]
    found = [row for row, known in zip(rows, names, strict=True) if fnmatch.filter(known, pattern)]
    if not found and pattern in models:
        console.fail(f"nobody publishes weights of {pattern} that we know; timm's hub has no AlexNet and no GoogLeNet.")
    if not found:
        offer = registry.close_names(pattern, dict.fromkeys(name for known in names for name in known))
        console.fail(f"no weights match {pattern!r}: {offer}")
    yield ["weights", "model", "size", "crop", "top-1", "licence"]
    for source, model, fields in found:
        top1 = accuracy(fields["top1"], fields["top1_size"])
        yield [source, model, side(fields["image_size"]), f"{fields['crop']:.3g}", top1, fields["license"] or "-"]


def show(rows) -> None:
    """Prints rows of text: words to the left, numbers to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for source, model, size, crop, top1, licence in rows:
        words = f"{source:{widths[0]}}  {model:{widths[1]}}"
        print(f"{words}  {size:>{widths[2]}}  {crop:>{widths[3]}}  {top1:>{widths[4]}}  {licence}")


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_boolean("weights", False, "the published weights in place of the models", flag_values=values)
    flags.DEFINE_list("family", [], "only of this family, or of several: resnet,vgg", flag_values=values)
    flags.DEFINE_string("max_params", None, "at most so many parameters, such as 25M", flag_values=values)
    flags.DEFINE_string("max_macs", None, "at most so many multiply-accumulates, such as 1G", flag_values=values)
    flags.DEFINE_string("sort", None, f"by {', '.join(SORTS)}, smallest first", flag_values=values)
    patterns = console.parse_flags(values, __doc__)
    if len(patterns) > 1:
        console.fail("one pattern at most; quote it, so that the shell leaves it alone: 'resnet*'.")
    if values.weights:
        return show(published(select(registry.facts(), values, "*"), patterns[0] if patterns else "*"))
    found = select(registry.facts(), values, patterns[0] if patterns else "*")
    name_width = max(map(len, found)) + 2
    family_width = max(len(fact["family"]) for fact in found.values()) + 2
    print(f"{'model':{name_width}}{'family':{family_width}}{'input':>11}{'classes':>9}{'params':>9}{'macs':>9}")
    for name, fact in found.items():
        size = "x".join(map(str, fact["input_shape"]))
        counts = f"{fact['num_classes']:>9}{short(fact['params']):>9}{short(fact['macs']):>9}"
        print(f"{name:{name_width}}{fact['family']:{family_width}}{size:>11}{counts}")


if __name__ == "__main__":
    main()
