"""Writes what is known of the models: kerascnn/models/facts.json, docs/zoo.md and the table of families in README.md.

    python -m tools.make_zoo ['PATTERN']

Builds every model, in minutes; with a pattern those that match it, and takes the others as they stand in facts.json.
With --check it builds none, writes nothing, and exits with 1 where a file is not current.
"""

import collections
import csv
import fnmatch
import itertools
import json
import pathlib
import sys
from typing import NamedTuple

import keras
import tqdm
from absl import flags

from kerascnn import console, models, registry
from kerascnn.weights import catalog

from .list import short

ROOT = pathlib.Path(__file__).parent.parent
FACTS = pathlib.Path(models.__file__).parent / "facts.json"
PAGE = ROOT / "docs/zoo.md"
README = ROOT / "README.md"
GOLDEN = ROOT / "tests/golden"


class Compared(NamedTuple):
    """Models of ours, as patterns of FAMILY/NAME, and where others have them: keras.applications' classes, modules."""

    ours: str
    keras: str = ""
    hub: str = ""
    torch: str = ""


# By name; a model of ours counts in the first row that fits, and families that none fits stand below, by themselves.
# A module may hold more than the family.
# fmt: off
COMPARED = {
    "AlexNet":                        Compared("alexnet/*",             torch="alexnet"),
    "VGG":                            Compared("vgg/*",                 "VGG*", "vgg", "vgg"),
    "Inception":                      Compared("inception*/*",          "Inception*", "", "googlenet inception*"),
    "Xception":                       Compared("xception*/*",           "Xception", "xception", "xception*"),
    "Res2Net":                        Compared("resnet/res2ne*",             torch="res2net"),
    "ResNeSt":                        Compared("resnet/resnest*",             torch="resnest"),
    "SKNet":                          Compared("resnet/sk*",               torch="sknet"),
    "ResNet":                         Compared("resnet/* preact_resnet/* cifar_resnet/*", "ResNet*", "resnet",
                                               "resnet resnetv2"),
    "SENet":                          Compared("senet/*",               torch="senet"),
    "DenseNet":                       Compared("densenet/*",            "DenseNet*", "densenet", "densenet"),
    "MobileNet":                      Compared("mobilenet*/*",          "MobileNet*", "mobilenet*", "mobilenetv*"),
    "EfficientNet, MNASNet":          Compared("efficientnet*/* mnasnet*/*", "EfficientNet*", "efficientnet",
                                               "efficientnet mnasnet"),
    "ConvNeXt, InceptionNeXt":        Compared("convnext*/*",           "ConvNeXt*", "", "convnext inception_next"),
    "NASNet, PNASNet":                Compared("nasnet/* pnasnet/*",   "NASNet*", "", "nasnet pnasnet"),
    "RegNet":                         Compared("regnet*/*",             torch="regnet"),
    "CSPNet":                         Compared("cspnet/*",              "", "cspnet", "cspnet cspnext"),
    "HGNet":                          Compared("hgnet*/*",              "", "hgnet*", "hgnet"),
    "ByobNet: RepVGG, MobileOne, ...": Compared("repvgg/* mobileone/*",   torch="byobnet"),
    "ShuffleNet":                     Compared("shufflenet*/*",         torch="shufflenetv2"),
    "SqueezeNet":                     Compared("squeezenet/*",          torch="squeezenet"),
    "GhostNet":                       Compared("ghostnet/*",            torch="ghostnet"),
    "NFNet":                          Compared("nf_resnet/*",           torch="nfnet"),
    "DPN":                            Compared("dpn/*",                 torch="dpn"),
    "DLA":                            Compared("dla/*",                 torch="dla"),
    "HRNet":                          Compared("hrnet/*",               torch="hrnet"),
    "VoVNet":                         Compared("vovnet/*",              torch="vovnet"),
    "ReXNet":                         Compared("rexnet/*",              torch="rexnet"),
    "SelecSLS":                       Compared("selecsls/*",            torch="selecsls"),
    "TResNet":                        Compared("tresnet/*",             torch="tresnet"),
    "HardCoRe-NAS":                   Compared("hardcorenas/*",         torch="hardcorenas"),
    "ConvMixer":                      Compared("convmixer/*",           torch="convmixer"),
    "RepGhost":                       Compared("repghost/*",            torch="repghost"),
    "RDNet":                          Compared("rdnet/*",               torch="rdnet"),
    "StarNet":                        Compared("starnet/*",             torch="starnet"),
    "FasterNet":                      Compared("fasternet/*",           torch="fasternet"),
}
# fmt: on

BEGIN, END = "<!-- zoo: begin -->", "<!-- zoo: end -->"


def described(name):
    """Returns the part of a model's facts that its row in the table tells."""
    variant = registry.lookup(name)
    spec = variant.spec
    return {
        "family": variant.family,
        "paper": variant.paper,
        "aliases": list(variant.aliases),
        "input_shape": list(spec.input_shape),
        "num_classes": spec.num_classes,
    }


def measured(name):
    """Builds a model as it comes, and returns its facts as facts.json holds them."""
    info = models.model_info(name, measure=True)
    counts = {fact: getattr(info, fact) for fact in ("params", "trainable_params", "macs")}
    stages = {stage: list(shape) for stage, shape in info.stages}
    last = {"receptive_field": info.receptive_field, "peak_memory": info.peak_memory}
    return described(name) | counts | {"stages": stages} | last


def families(facts):
    """(family, {name: facts}) in the order of the zoo."""
    for family, rows in itertools.groupby(facts.items(), lambda item: item[1]["family"]):
        yield family, dict(rows)


def facts_text(facts):
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(fact)}" for name, fact in facts.items()) + "\n}\n"


def page_text(facts):
    """docs/zoo.md."""
    lines = [
        "# The zoo",
        "",
        "Written by `python -m tools.make_zoo`; `kerascnn list` and `kerascnn info NAME` say the same on the command",
        "line. Counted on the models as `create_model(NAME)` gives them, for one image of the size in the table.",
        "",
        "| | |",
        "|---|---|",
        "| parameters | with the running averages of batch norm, which do not train |",
        "| multiply-accumulates | of convolutions and fully connected layers |",
        "| sees | the receptive field of the last stage, in pixels a side; it may exceed the image |",
        "| activations | the most memory that is needed at one time, for one image in float32 at test time |",
    ]
    for family, rows in families(facts):
        lines += ["", f"## {family}", ""]
        lines += ["| model | input | parameters | trainable | multiply-accumulates | sees | activations | paper |"]
        lines += ["|---|---|--:|--:|--:|--:|--:|---|"]
        for name, fact in rows.items():
            cells = [
                f"`{name}`",
                "x".join(map(str, fact["input_shape"])),
                f"{fact['params']:,}",
                f"{fact['trainable_params']:,}",
                short(fact["macs"]),
                str(fact["receptive_field"]),
                f"{short(fact['peak_memory'])}B",
                link(fact["paper"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *others_text(facts), *checkpoints_text(facts)]) + "\n"


def others_text(facts):
    """How many models of each family we and others have."""
    hub, torch = golden_table("keras_hub.csv"), golden_table("torch_zoo.csv")
    versions = {row["source"]: row["version"] for row in torch}
    classes = [name for name in dir(keras.applications) if name[0].isupper()]
    ours = [f"{fact['family']}/{name}" for name, fact in facts.items()]
    lines = ["", "## Beside other libraries", ""]
    lines += ["Each column counts what its library can be asked for by name: kerascnn's models; the classes of"]
    lines += [
        f"keras.applications (Keras {keras.__version__}); keras-hub's presets, several of which may be one net with"
    ]
    lines += [
        f"other weights ({hub[0]['date']}, from the files that tests/golden/keras_hub.csv names); and the models of"
    ]
    lines += [
        f"the modules of torchvision {versions['torchvision']} and timm {versions['timm']}, where a module holds the"
    ]
    lines += ["family and sometimes more, as timm's efficientnet does. Nets of attention alone are left out.", ""]
    lines += [
        "| family | kerascnn | keras.applications | keras-hub | torchvision | timm |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    first = {name: next((key for key, row in COMPARED.items() if fits(name, row.ours)), None) for name in ours}
    first = {name: key or name.partition("/")[0] for name, key in first.items()}
    found = collections.Counter(first.values())
    rows = COMPARED | {key: Compared("") for key in found if key not in COMPARED}
    for name, row in rows.items():
        cells = [
            found[name],
            sum(fits(other, row.keras) for other in classes),
            sum(int(other["presets"]) for other in hub if fits(other["family"], row.hub)),
        ]
        for library in ("torchvision", "timm"):
            modules = [other for other in torch if other["source"] == library]
            cells.append(sum(int(other["models"]) for other in modules if fits(other["module"], row.torch)))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return lines


def golden_table(name):
    with (GOLDEN / name).open(newline="") as lines:
        return list(csv.DictReader(lines))


def fits(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split())


def checkpoints_text(facts):
    """How many published checkpoints the catalogue has for each family."""
    families_ = {name: fact["family"] for name, fact in facts.items()}
    found = collections.Counter(families_[known.model] for known in catalog.known() if known.model in families_)
    lines = ["", "## By checkpoints", "", "Weights that others publish, as `kerascnn list --weights` names them.", ""]
    lines += ["| family | checkpoints |", "|---|--:|"]
    return lines + [f"| {family} | {found[family]} |" for family in dict.fromkeys(families_.values()) if found[family]]


def link(paper):
    """A paper by its number where it has one, else by where it is."""
    host, _, path = paper.removeprefix("https://").partition("/")
    numbers = {"arxiv.org": f"arXiv:{path.removeprefix('abs/')}", "doi.org": f"doi:{path}"}
    return f"[{numbers.get(host, host)}]({paper})"


def table_text(facts):
    """The table of README.md, with the markers around it."""
    lines = [BEGIN, "| family | models | parameters | multiply-accumulates |", "|---|--:|--:|--:|"]
    for family, rows in families(facts):
        ranges = [span([fact[key] for fact in rows.values()]) for key in ("params", "macs")]
        lines.append(f"| [{family}](docs/zoo.md#{family}) | {len(rows)} | {' | '.join(ranges)} |")
    total = [span([fact[key] for fact in facts.values()]) for key in ("params", "macs")]
    lines.append(f"| all | {len(facts)} | {' | '.join(total)} |")
    return "\n".join([*lines, END])


def span(values):
    low, high = short(min(values)), short(max(values))
    return low if low == high else f"{low} to {high}"


def with_table(text, table):
    """README.md with its table replaced; a ValueError where the markers are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README} lacks the lines {BEGIN} and {END}: the table goes between them")
    return before + table + after


def wrong(facts):
    """What is not current, in words."""
    names = registry.list_models()
    if list(facts) != names:
        differs = sorted(set(facts) ^ set(names)) or ["their order"]
        yield f"{FACTS} has not the models that are registered: {', '.join(differs)}"
    for name in facts.keys() & set(names):
        if {key: facts[name].get(key) for key in described(name)} != described(name):
            yield f"{FACTS}: {name} is not as its row in the table"
    if not PAGE.exists() or PAGE.read_text("utf-8") != page_text(facts):
        yield f"{PAGE} is not what {FACTS} gives"
    readme = README.read_text("utf-8")
    if with_table(readme, table_text(facts)) != readme:
        yield f"the table in {README} is not what {FACTS} gives"


def main():
    values = flags.FlagValues()
    flags.DEFINE_boolean("check", False, "write nothing; exit with 1 where a file is not current", flag_values=values)
    patterns = console.parse_flags(values, __doc__)
    facts = registry.facts()
    if values.check:
        found = list(wrong(facts))
        sys.exit("\n".join([*found, "run python -m tools.make_zoo"]) if found else 0)
    chosen = {name for pattern in patterns or ["*"] for name in registry.list_models(pattern)}
    fresh = {}
    for name in tqdm.tqdm(registry.list_models()):
        if name in chosen or name not in facts:
            fresh[name] = measured(name)
            keras.backend.clear_session()
        else:
            fresh[name] = facts[name] | described(name)
    FACTS.write_text(facts_text(fresh), "utf-8")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page_text(fresh), "utf-8")
    README.write_text(with_table(README.read_text("utf-8"), table_text(fresh)), "utf-8")
    print(f"wrote {len(fresh)} models to {FACTS}, {PAGE} and {README}")


if __name__ == "__main__":
    main()
