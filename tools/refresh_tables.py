"""refresh_tables.py DOCUMENT PRINTED...: puts printed numbers into the tables of a document.

Tables are Markdown ("| a | b |") or plain columns under a line of dashes, as kvtape prints them. A
table of the document takes its heading and its rows from a printed table of the same kind with the
same first heading, the same number of columns and at least its rows, each once. A row is known by its
first cell, or by its first cells where several rows share one. The document keeps its choice of rows,
their order and every other word. Tables that no printed one matches are named and
stay: those of which an author left out columns, or named them otherwise.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple


class Table(NamedTuple):
    """Lines begin..end of a text: a heading, a rule, and rows."""

    begin: int
    end: int
    lines: list

    @property
    def kind(self):
        """What has to agree: Markdown or plain, the first heading, the number of columns."""
        heading = cells(self.lines[0])
        return self.lines[0].startswith("|"), heading[0], len(heading)

    def labels(self, width):
        """The first `width` cells of every row."""
        return [cells(line)[:width] for line in self.lines[2:]]

    def label_width(self):
        """How many first cells tell the rows apart."""
        widths = range(1, len(cells(self.lines[0])))
        return next((width for width in widths if all_differ(self.labels(width))), 1)


def cells(line):
    """The cells of a row; columns of a plain table stand two blanks apart."""
    parts = line.strip("|").split("|") if line.startswith("|") else re.split(r"\s{2,}", line.rstrip())
    return [part.strip() for part in parts]


def all_differ(values):
    return all(values.count(value) == 1 for value in values)


def is_rule(line):
    return re.fullmatch(r"(\|[ :-]*-[ :-]*)+\||-+(  -+)+", line) is not None


def tables_of(lines):
    """Every table with a row at least. Plain rows end where a line has another number of cells."""
    found = []
    for number in range(1, len(lines)):
        if not is_rule(lines[number]):
            continue
        width, markdown = len(cells(lines[number])), lines[number].startswith("|")
        end = number + 1
        while end < len(lines) and len(cells(lines[end])) == width and lines[end].startswith("|") == markdown:
            end += 1
        if end > number + 1 and len(cells(lines[number - 1])) == width:
            found.append(Table(number - 1, end, lines[number - 1:end]))
    return found


def replacement(table, printed):
    """The lines of `table` with the numbers of the first printed table that has all its rows, or
    None; that printed table is used up."""
    width = table.label_width()
    labels = table.labels(width)
    for candidate in printed:
        found = candidate.labels(width)
        if candidate.kind == table.kind and all(found.count(label) == labels.count(label) == 1 for label in labels):
            printed.remove(candidate)
            return candidate.lines[:2] + [candidate.lines[2 + found.index(label)] for label in labels]
    return None


def refreshed(text, outputs):
    """The text with new numbers, how many tables were found again, and those that were not."""
    lines, printed, missing, count = text.split("\n"), [], [], 0
    for output in outputs:
        printed += tables_of(output.split("\n"))
    for table in tables_of(lines):
        new = replacement(table, printed)
        if new is None:
            missing.append(table)
        else:
            lines[table.begin:table.end] = new
            count += 1
    return "\n".join(lines), count, missing


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: refresh_tables.py DOCUMENT PRINTED...")
    document = Path(sys.argv[1])
    try:
        outputs = [Path(name).read_text() for name in sys.argv[2:]]
        text, count, missing = refreshed(document.read_text(), outputs)
    except OSError as problem:
        sys.exit(f"refresh_tables.py: {problem}")
    document.write_text(text)
    print(f"{document}: {count} tables have new numbers", file=sys.stderr)
    for table in missing:
        print(f"{document}:{table.begin + 1}: no printed table matches: {table.lines[0]}", file=sys.stderr)


if __name__ == "__main__":
    main()
