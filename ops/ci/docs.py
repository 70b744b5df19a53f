"""Check the documents: links, files and commands that they name exist, and every example runs."""

import doctest
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # where the commands and the examples are

from flows.cli.main import COMMANDS  # noqa: E402

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]+`|^ {4}[^\n]*|^```.*?^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"\b((?:flows|operators|schemas|tests|ops|docs)/[\w./-]*\.[a-z]+)\b")
FOLDER = re.compile(r"`((?:flows|operators|schemas|tests|ops|docs)/[\w/-]*/)`")
MAKE = re.compile(r"\bmake ([a-z]+)(?: NAME=([a-z_]+))?")
COMMAND = re.compile(r"(?:\bbanditflow|python -m flows) ([a-z][a-z-]*)")
MADE = ("ops/benchmarks/results/",)
"""Files that only a run makes."""


def documents() -> list[Path]:
    """List the documents: those at the top, and all in docs/ and ops/."""
    nested = (path for folder in ("docs", "ops") for path in (ROOT / folder).rglob("*.md"))
    return sorted([*ROOT.glob("*.md"), *nested])


def anchors(text: str) -> set[str]:
    """Give the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> list[str]:
    """Name the links of a document that lead nowhere in this repository."""
    broken = []
    for link in LINK.findall(FENCE.sub("", document.read_text())):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = document.parent / path if path else document
        if not target.exists():
            broken.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            broken.append(f"{link}: no such heading")
    return broken


def strangers(document: Path) -> list[str]:
    """Name the files and commands in a document's code that there are none of."""
    code = "\n".join(CODE.findall(document.read_text()))
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    folders = {"bench": "ops/benchmarks", "campaign": "ops/benchmarks/campaigns"}
    found = [
        f"{name}: no such file"
        for name in [*FILE.findall(code), *FOLDER.findall(code)]
        if not name.startswith(MADE) and not (ROOT / name).exists()
    ]
    for target, name in MAKE.findall(code):
        if target not in targets:
            found.append(f"make {target}: no such target")
        elif name and not (ROOT / folders[target] / f"{name}.py").exists():
            found.append(f"make {target} NAME={name}: there is no such one")
    known = COMMANDS.keys()
    return found + [
        f"banditflow {c}: no such command" for c in COMMAND.findall(code) if c not in known
    ]


def main() -> int:
    """Check all documents; give the exit status."""
    failures = 0
    for document in documents():
        name = str(document.relative_to(ROOT))
        for problem in [*broken_links(document), *strangers(document)]:
            print(f"{name}: {problem}")
            failures += 1
        failures += doctest.testfile(str(document), module_relative=False).failed
    print(f"{len(documents())} documents, {failures} problems")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
