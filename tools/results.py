"""Measures the recipes whose data is at hand, and writes what came out: docs/results.md and the cards' `Expected:`.

    python -m tools.results [--recipes=digits_lenet5,digits_vgg] [--seeds=0,1,2,3,4] [--data_dir=...]
    python -m tools.results --check     trains nothing, writes nothing; exits with 1 where cards and page disagree

What is measured is the last commit, in a clone of its own: changes of this checkout that are not committed have no part
in it. A run stays in --out, and is not trained again until its recipe, the versions of Python and of the libraries or
the code that training runs through have changed; what was killed goes on. Cards and the page are written at the end,
for all recipes of which every seed is there; the rows of other recipes stay as they are.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import platform
import re
import signal
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from kerascnn import console
from kerascnn.registry import close_names
from kerascnn.train.run_dir import Finished, read_finished, write_text

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/results.md"
CARDS = ROOT / "recipes"
# What of kerascnn/ has no part in a result.
APART = ("serve/", "doctor/", "cli.py", "console.py", "report.py")
PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy")
NOT_MEASURED, MARK = "not measured yet", "(docs/results.md)"
# The claim of a card, and the rest of its last line.
CLAIM = re.compile(rf'^Expected:\s({NOT_MEASURED}|(?:(?!""").)*?{re.escape(MARK)})([^\n]*?)(?=\n|""")', re.M | re.S)
INTRODUCTION = """\
# Results

Written by `python -m tools.results`, or `make results`: recipes as they are, each trained from several seeds. A seed
that is trained again by the command, at the commit and on the hardware of its row, gives the same accuracy. The cards
in `recipes/` say the same; a recipe that is not here is not measured yet.

The accuracy is the share of right answers on the recipe's test split, of the model that a run keeps. The time is that
of training with all evaluations and checkpoints. Parameters are counted with batch norm's running averages,
multiply-accumulates for one image of the recipe's size.
"""
LIST_RECIPES = """
import dataclasses, importlib, json, pkgutil
import recipes
names = [module.name for module in pkgutil.iter_modules(recipes.__path__) if not module.ispkg]
print(json.dumps({name: dataclasses.asdict(importlib.import_module(f"recipes.{name}").RECIPE) for name in names}))
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """What the page says of a recipe, in words, as its tables have it.

    Attributes:
      recipe: its name.
      accuracy: the mean over the seeds, in percent of the test images; `deviation` their standard deviation, and `each`
        that of each.
      seconds: of training with all evaluations, the mean.
      parameters, macs: of the model; multiply-accumulates are for one image.
      command: trains one of the `seeds`.
    """

    recipe: str
    accuracy: str
    deviation: str
    each: str
    seconds: str
    parameters: str
    macs: str
    command: str
    seeds: str
    versions: str
    hardware: str
    commit: str
    date: str


# The two tables: {heading: field of Row}. The first column tells which row it is.
TABLES = (
    {
        "recipe": "recipe",
        "accuracy, %": "accuracy",
        "deviation": "deviation",
        "of each seed": "each",
        "time, s": "seconds",
        "parameters": "parameters",
        "multiply-accumulates": "macs",
    },
    {
        "recipe": "recipe",
        "command": "command",
        "seeds": "seeds",
        "versions": "versions",
        "hardware": "hardware",
        "commit": "commit",
        "date": "date",
    },
)
WORDS = ("recipe", "each", "command", "seeds", "versions", "hardware", "commit", "date")  # to the left
QUOTED = ("recipe", "command", "commit")


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_list("recipes", None, "which recipes; none for all whose data is at hand", flag_values=values)
    flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "from which seeds each is trained", flag_values=values)
    flags.DEFINE_string("data_dir", None, "where TensorFlow Datasets keeps its files", flag_values=values)
    flags.DEFINE_string("out", "runs/results", "where the runs stay", flag_values=values)
    flags.DEFINE_boolean("check", False, "only whether the cards and the page agree", flag_values=values)
    if rest := console.parse_flags(values, __doc__):
        console.fail(f"{rest[0]!r} is not a flag: flags are written --NAME=VALUE.")
    if values.check:
        complaints = check(PAGE, CARDS)
        print("\n".join(complaints) or "The cards and docs/results.md agree.")
        sys.exit(1 if complaints else 0)
    try:
        seeds = [int(seed) for seed in dict.fromkeys(values.seeds)]
    except ValueError:
        console.fail(f"--seeds={','.join(values.seeds)} are not numbers such as 0,1,2.")
    if not seeds:
        console.fail("--seeds names none: give one at least.")
    signal.signal(signal.SIGTERM, _stop)
    out = Path(values.out).resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            sys.exit(measure(out, values.recipes, seeds, values.data_dir))
    except (ValueError, OSError) as error:
        console.fail(error)
    except KeyboardInterrupt:
        console.fail("stopped; the same command goes on from there.", 130)


def _stop(*_):
    raise KeyboardInterrupt


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process measures into {out}: wait, or give another --out.") from None
        yield


def measure(out: Path, names: Sequence[str] | None, seeds: Sequence[int], data_dir: str | None) -> int:
    """Trains what is missing and writes the cards and the page. Returns the exit code: 1 where a run failed.

    Raises:
      ValueError: a recipe is unknown, or this is no git checkout.
    """
    checkout = out / "checkout"
    commit = clone(ROOT, checkout)
    recipes = recipes_of(checkout)
    for name in names or ():
        if name not in recipes:
            raise ValueError(f"commit {commit[:10]} has no recipe {name!r}: {close_names(name, recipes)}")
    if names is None:
        names = [name for name, fields in recipes.items() if at_hand(fields["data"], data_dir)]
        print(f"With data at hand: {', '.join(names) or 'none'}.", flush=True)
    for name in names:
        card_of(name)  # before hours of training
    code = code_of(checkout)
    found, failed = {}, False
    for name in names:
        folder = out / name / fingerprint(recipes[name], code)
        runs = []
        for seed in seeds:
            place = f"{name} seed {seed}"
            try:
                run = trained(name, seed, checkout, folder / f"seed{seed}", data_dir)
            except ValueError as error:
                failed = True
                console.note(f"{place}: {error}")
                continue
            print(f"{place}: {100 * run.result['accuracy']:.2f} %, {duration(run.result['seconds'])}", flush=True)
            runs.append(run)
        if len(runs) == len(seeds):
            found[name] = row_of(name, runs)
    rows = {name: row for name, row in read_page(PAGE).items() if (CARDS / f"{name}.py").exists()} | found
    write_text(PAGE, page_text(rows))
    for name, row in rows.items():
        write_text(CARDS / f"{name}.py", with_claim(card_of(name), claim_of(row)))
    for complaint in check(PAGE, CARDS):
        failed = True
        console.note(complaint)
    return 1 if failed else 0


def card_of(name: str) -> str:
    """The text of a card of this checkout, which takes a claim; else a ValueError."""
    try:
        text = (CARDS / f"{name}.py").read_text("utf-8")
        with_claim(text, "")
    except (ValueError, OSError) as error:
        raise ValueError(f"{name}: {error}") from None
    return text


def clone(root: Path, checkout: Path) -> str:
    """Makes `checkout` a clone of the repository at its last commit, and returns that.

    Raises:
      ValueError: `root` is no git checkout, or its clone fails.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if not checkout.exists():
        _git(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(checkout))
    _git(checkout, "fetch", "--quiet", "origin", commit)
    _git(checkout, "checkout", "--quiet", "--force", "--detach", commit)
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        console.note(f"The changes of {root} that are not committed are left out: commit {commit[:10]} is measured.")
    return commit


def _git(folder, *arguments):
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except OSError as error:
        raise ValueError(f"git cannot be started ({error.strerror}): results need a commit.") from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git {arguments[0]} failed in {folder}: {error.stderr.strip()}") from error
    return done.stdout.strip()


def recipes_of(checkout: Path) -> dict[str, dict[str, Any]]:
    """The recipes of a checkout, and their fields, without loading them into this process."""
    done = subprocess.run([sys.executable, "-c", LIST_RECIPES], cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"the recipes of {checkout} cannot be read: {done.stderr.strip()}")
    return json.loads(done.stdout)


def at_hand(data: str, data_dir: str | None) -> bool:
    """Whether a recipe's `data` can be read: the digits always, others where they are prepared or are files."""
    kind, _, name = data.partition(":")
    if data == "digits":
        return True
    if kind == "tfds":
        folder = Path(data_dir or "~/tensorflow_datasets").expanduser() / name.partition(":")[0]
        return any(folder.glob("**/dataset_info.json"))
    return Path(name or data).exists()


def code_of(checkout: Path) -> str:
    """What training runs through at a commit: git's names for these files."""
    lines = _git(checkout, "ls-tree", "-r", "HEAD", "kerascnn").splitlines()
    paths = [line.partition("\t")[2].removeprefix("kerascnn/") for line in lines]
    return "\n".join(line for line, path in zip(lines, paths, strict=True) if not path.startswith(APART))


def fingerprint(recipe: dict[str, Any], code: str) -> str:
    """Differs where a recipe, the code or the versions do."""
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    text = json.dumps([recipe, code, versions, platform.python_version()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def trained(name: str, seed: int, checkout: Path, folder: Path, data_dir: str | None) -> Finished:
    """The run of a recipe in `folder`, trained by a process of its own where it is not finished.

    Raises:
      ValueError: it failed; the message says in which file to read more.
    """
    with contextlib.suppress(ValueError, OSError):
        return read_finished(folder)
    log = folder.with_name(f"{folder.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"recipes.{name}", f"--seed={seed}", f"--model_dir={folder}"]
    command += [f"--data_dir={Path(data_dir).expanduser().resolve()}"] if data_dir else []
    with open(log, "w", encoding="utf-8") as file:
        # In a session of its own a terminal's Ctrl-C does not reach it: asked twice, it would not save before it ends.
        process = subprocess.Popen(command, cwd=checkout, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if code:
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
        raise ValueError(f"training ended with {code}: {lines[-1] if lines else 'no message'} ({log})")
    return read_finished(folder)


def row_of(name: str, runs: Sequence[Finished]) -> Row:
    """The row of a recipe from its runs, in the order of the seeds.

    Raises:
      ValueError: the runs are not those of one commit's code on one machine.
    """
    runs = sorted(runs, key=lambda run: run.seed)
    for what in ("versions", "hardware"):
        if any(run.origin[what] != runs[0].origin[what] for run in runs):
            folder = runs[0].path.parent
            raise ValueError(f"{name}: its runs differ in their {what}. Delete {folder} to measure all seeds again.")
    commit = runs[0].origin["commit"]
    if not re.fullmatch("[0-9a-f]{40}", commit or ""):
        raise ValueError(f"{name}: {runs[0].path} was trained at {commit or 'no commit'}: its numbers have no source.")
    accuracies = [100 * run.result["accuracy"] for run in runs]
    versions, hardware = runs[0].origin["versions"], runs[0].origin["hardware"]
    words = [f"Python {versions['python']}", f"TensorFlow {versions['tensorflow']}", f"Keras {versions['keras']}"]
    return Row(
        recipe=name,
        accuracy=f"{statistics.fmean(accuracies):.2f}",
        deviation=f"{statistics.stdev(accuracies):.2f}" if len(runs) > 1 else "-",
        each=", ".join(f"{accuracy:.2f}" for accuracy in accuracies),
        seconds=f"{statistics.fmean(run.result['seconds'] for run in runs):.0f}",
        parameters=f"{runs[0].result['parameters']:,}",
        macs=f"{runs[0].result['macs']:,}",
        command=f"python -m recipes.{name} --seed=SEED",
        seeds=seeds_text([run.seed for run in runs]),
        versions=", ".join(words),
        hardware=", ".join([*hardware["gpus"], f"{hardware['cpu']} with {hardware['cores']} cores"]).replace("|", "/"),
        commit=commit[:10],
        date=max(run.result["finished"] for run in runs)[:10],
    )


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds in words: "0 to 4", "0 and 2", "3"."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    texts = list(map(str, seeds))
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]


def duration(seconds: float) -> str:
    """Seconds for people: "27 s", "45 min", "5.2 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def claim_of(row: Row) -> str:
    """What the card of a recipe says behind `Expected:`."""
    several = ", " in row.each
    seeds = f"the mean of seeds {row.seeds} ({row.each})" if several else f"seed {row.seeds}"
    return (
        f"{row.accuracy} % of the test images, {seeds}, after {duration(float(row.seconds))} of training with all "
        f"evaluations; {row.parameters} parameters. {row.hardware}; commit {row.commit} {MARK}"
    )


def with_claim(card: str, claim: str) -> str:
    """A card's text with this claim behind `Expected:`, and all else as it is.

    Raises:
      ValueError: the card has no such line, or one that is not written by this command.
    """
    found = CLAIM.search(card)
    if not found:
        raise ValueError(f"a card has to say 'Expected: {NOT_MEASURED}', or what ends with {MARK}.")
    text = textwrap.fill(f"Expected: {claim}{found[2]}", 118, break_long_words=False, break_on_hyphens=False)
    return card[: found.start()] + text + card[found.end() :]


def page_text(rows: dict[str, Row]) -> str:
    """docs/results.md."""
    lines = [INTRODUCTION]
    if not rows:
        lines.append("Nothing is measured yet.\n")
    for title, columns in zip(("", "## How they were measured\n"), TABLES, strict=True) if rows else ():
        lines += [title] if title else []
        lines.append("| " + " | ".join(columns) + " |")
        lines.append("|" + "|".join("---" if field in WORDS else "--:" for field in columns.values()) + "|")
        for _, row in sorted(rows.items()):
            cells = [getattr(row, field) for field in columns.values()]
            quoted = [
                f"`{cell}`" if field in QUOTED else cell for field, cell in zip(columns.values(), cells, strict=True)
            ]
            lines.append("| " + " | ".join(quoted) + " |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def read_page(page: Path) -> dict[str, Row]:
    """The rows of docs/results.md by their recipe; none where there is no such file.

    Raises:
      ValueError: the page is not as this command writes it.
    """
    if not page.exists():
        return {}
    text = page.read_text("utf-8")
    fields: dict[str, dict[str, str]] = {}
    columns: dict[str, str] = {}
    for line in text.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        columns = next((table for table in TABLES if list(table) == cells), columns)
        if line.startswith("| `") and len(cells) == len(columns):
            fields.setdefault(cells[0], {}).update(zip(columns.values(), cells, strict=True))
    try:
        rows = {name: Row(**cells) for name, cells in fields.items()}
    except TypeError as error:
        raise ValueError(f"{page} is not what python -m tools.results writes: a row lacks cells ({error}).") from error
    if page_text(rows) != text:
        raise ValueError(f"{page} is not what python -m tools.results writes: take its last committed form.")
    return rows


def check(page: Path, cards: Path) -> list[str]:
    """What of the cards and the page is not true to each other, a line of text each."""
    try:
        rows = read_page(page)
    except ValueError as error:
        return [str(error)]
    texts = {card.stem: card.read_text("utf-8") for card in sorted(cards.glob("*.py")) if card.stem != "__init__"}
    found = [f"{page.name} has a row for {name}, which is no recipe." for name in rows if name not in texts]
    for name, text in texts.items():
        match = CLAIM.search(text)
        claim = " ".join(match[1].split()) if match else ""
        if not match:
            found.append(f"{name}: its card has to say 'Expected: {NOT_MEASURED}', or what ends with {MARK}.")
        elif name not in rows and claim != NOT_MEASURED:
            found.append(f"{name}: its card claims what {page.name} lacks: {claim}")
        elif name in rows and claim != claim_of(rows[name]):
            found.append(f"{name}: its card says {claim!r}, and {page.name} {claim_of(rows[name])!r}.")
    return found


if __name__ == "__main__":
    main()
