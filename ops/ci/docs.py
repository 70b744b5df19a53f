"""Check the documents: every relative link leads somewhere, and every example runs."""

import doctest
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


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


def main() -> int:
    """Check all documents; give the exit status."""
    sys.path.insert(0, str(ROOT))  # where the examples import from
    failures = 0
    for document in documents():
        name = str(document.relative_to(ROOT))
        for problem in broken_links(document):
            print(f"{name}: {problem}")
            failures += 1
        failures += doctest.testfile(str(document), module_relative=False).failed
    print(f"{len(documents())} documents, {failures} problems")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
