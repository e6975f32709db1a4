#!/usr/bin/env python3
"""check_docs.py ROOT PROGRAM: links of the documents lead somewhere, and the commands they show exist.

Checked are README.md, CHANGELOG.md, docs/ and the READMEs of the folders: relative links and their
anchors, source files named in inline code, `./dev` commands against `./dev help`, and `kvtape`
verbs and options against the program's own help.
"""

import re
import subprocess
import sys
from pathlib import Path


def anchors(document):
    """The anchors of a document's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ +(.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        if not linked.exists():
            yield f"link to {target}, which does not exist"
        elif anchor and anchor not in anchors(linked):
            yield f"link to {target}, but {linked.name} has no such heading"


def help_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def code_of(document):
    """Every piece of code of a document: fenced lines and inline spans."""
    text = document.read_text()
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for block in fenced for line in block.splitlines()] + inline


def missing_files(document, root):
    """Source files named with their folder, from the root or from the document; NAME stands for any."""
    for span in re.findall(r"`([^`\n]+)`", document.read_text()):
        if not re.fullmatch(r"[a-z][\w.-]*(/[\w.-]+)+\.(hpp|cpp|md|py|sh|cmake|txt|json)", span):
            continue
        # The example of adding-a-policy.md is compiled from tests/.
        places = (root / span, document.parent / span, root / "tests" / span)
        stands_for_any = re.search(r"[A-Z]{4}", span) and not span.endswith("README.md")
        if not stands_for_any and not any(place.exists() for place in places):
            yield f"{span}, which does not exist"


def unknown_dev_commands(document, help_text):
    for line in code_of(document):
        for command, option in re.findall(r"\./dev ([a-z]+)(?: (--[a-z]+))?", line):
            wanted = f"{command} {option}" if option else command
            if not re.search(rf"^  {re.escape(wanted)}\b", help_text, re.MULTILINE):
                yield f"./dev {wanted}, which ./dev help does not know"


def unknown_kvtape_commands(document, program, help_texts):
    for line in code_of(document):
        found = re.match(r"(?:\$ )?(?:\S*/)?kvtape ([a-z]+)(.*)", line)
        if not found:
            continue
        verb, rest = found.groups()
        if verb not in help_texts:
            yield f"kvtape {verb}, which kvtape --help does not list"
            continue
        for option in re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest.partition("#")[0]):
            if not re.search(rf"{option}\b", help_texts[verb]):
                yield f"kvtape {verb} {option}, which its --help does not list"


def verbs_of(program):
    listed = re.findall(r"^  ([a-z]+) ", help_of(program, "--help"), re.MULTILINE)
    return {verb: help_of(program, verb, "--help") for verb in listed}


def main():
    root = Path(sys.argv[1])
    program = sys.argv[2] if len(sys.argv) > 2 else ""
    documents = [root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").glob("**/*.md"))]
    for folder in ("data", "python", "tests"):
        documents += sorted((root / folder).glob("**/README.md"))
    dev_help = help_of(root / "dev", "help")
    verb_help = verbs_of(program) if program else {}
    offences = 0
    for document in documents:
        findings = [*broken_links(document), *missing_files(document, root)]
        findings += unknown_dev_commands(document, dev_help)
        if program:
            findings += unknown_kvtape_commands(document, program, verb_help)
        for finding in findings:
            print(f"{document.relative_to(root)}: {finding}")
        offences += len(findings)
    print(f"{offences} offences in {len(documents)} documents")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
