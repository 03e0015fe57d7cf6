"""Holds the tree of WORKSPACE.md against the files: a line for each module and each folder, none for what is gone.

An `__init__.py` with nothing but a docstring needs no line: its folder's says it all.
"""

import ast
import collections
import fnmatch
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
IGNORED = [line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines() if line[:1] != "#"]
IGNORED.append(".git")


def read_tree(text: str) -> list[str]:
    """The paths of the first code block, "a/b/" for folders: two spaces a level, a name, and what it is."""
    block = text.split("```")[1].strip("\n")
    paths, trail = [], []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        trail[depth:] = [line.split()[0]]
        paths.append("".join(trail))
    return paths


def ours(path: pathlib.Path) -> bool:
    return not any(fnmatch.fnmatch(part, pattern) for part in path.relative_to(ROOT).parts for pattern in IGNORED)


def docstring(path: pathlib.Path) -> str:
    first_line = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "what it is").splitlines()[0]
    return first_line.rstrip(".")


def wanted() -> dict[str, str]:
    """{path: a first proposal for its text} of everything that needs a line."""
    found = {}
    for folder in ("kerascnn", "tools"):
        for path in filter(ours, (ROOT / folder).rglob("*.py")):
            statements = ast.parse(path.read_text("utf-8")).body
            if path.name != "__init__.py" or len(statements) > 1:
                found[str(path.relative_to(ROOT))] = docstring(path)
    for folder in (".", "kerascnn", "tools", "recipes", "tests", "docs"):
        for path in filter(ours, (ROOT / folder).glob("*/")):
            init = path / "__init__.py"
            found[f"{path.relative_to(ROOT)}/"] = docstring(init) if init.exists() else "what it holds"
    return found


def test_tree_is_complete():
    listed, missing = read_tree((ROOT / "WORKSPACE.md").read_text("utf-8")), []
    for path, text in sorted(wanted().items()):
        if path not in listed:
            folder, _, name = path.rstrip("/").rpartition("/")
            where = f"below {folder}/" if folder else "at the top"
            missing.append(f"{where}: {'  ' * path.rstrip('/').count('/')}{name}{'/' * path.endswith('/')}  {text}")
    assert not missing, "the tree of WORKSPACE.md lacks these lines:\n" + "\n".join(missing)


def test_tree_is_true():
    listed = read_tree((ROOT / "WORKSPACE.md").read_text("utf-8"))
    gone = [path for path in listed if not (ROOT / path).exists() or (ROOT / path).is_dir() != path.endswith("/")]
    assert not gone, "the tree of WORKSPACE.md lists what is not there: " + ", ".join(gone)
    twice = [path for path, count in collections.Counter(listed).items() if count > 1]
    assert not twice, "the tree of WORKSPACE.md lists these more than once: " + ", ".join(twice)


def test_read_tree():
    text = (
        "# Map\n```\na.md      text\nb/        text `c/`\n  c/\n    d.py  text\n  e.py    text\nf/\n```\n```\nno\n```\n"
    )
    assert read_tree(text) == ["a.md", "b/", "b/c/", "b/c/d.py", "b/e.py", "f/"]
