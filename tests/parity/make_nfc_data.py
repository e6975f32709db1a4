"""Writes model/nfc_data.cpp: canonical decompositions and combining classes, as far as the NFC of Hugging
Face `tokenizers` knows them. Its tables are older than Python's, so each entry is tried there.
"""

import pathlib
import unicodedata

from tokenizers import normalizers

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "model" / "nfc_data.cpp"
BEGIN = """#include "model/nfc_data.hpp"

// Written by tests/parity/make_nfc_data.py.
// clang-format off
namespace kvtape::model {
"""
END = """
}  // namespace kvtape::model
"""
NFC, NFD = normalizers.NFC(), normalizers.NFD()


def characters():
    return [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def decompositions():
    """(character, first, second or 0, whether the pair composes)"""
    found = []
    for character in characters():
        parts = unicodedata.decomposition(character)
        if not parts or parts.startswith("<") or NFD.normalize_str(character) == character:
            continue
        first, second = (*(int(part, 16) for part in parts.split()), 0)[:2]
        composes = second != 0 and NFC.normalize_str(chr(first) + chr(second)) == character
        found.append((ord(character), first, second, int(composes)))
    return found


def is_reordered(character, combining):
    """Whether `tokenizers` moves the character against a mark of a smaller or a larger class."""
    for mark in "\u0334\u0301\u0345":
        in_order = sorted([character, mark], key=unicodedata.combining)
        if unicodedata.combining(mark) != combining:
            return NFD.normalize_str("".join(reversed(in_order))) == "".join(in_order)
    return False


def classes():
    """Runs (first, last, class)."""
    runs = []
    for character in characters():
        combining = unicodedata.combining(character)
        if combining == 0 or NFD.normalize_str(character) != character or not is_reordered(character, combining):
            continue
        point = ord(character)
        if runs and runs[-1][1] == point - 1 and runs[-1][2] == combining:
            runs[-1] = (runs[-1][0], point, combining)
        else:
            runs.append((point, point, combining))
    return runs


def table(kind, name, rows):
    cells = ["{" + ",".join(hex(cell) if cell > 9 else str(cell) for cell in row) + "}" for row in rows]
    lines, line = [], "   "
    for cell in cells:
        if len(line) + len(cell) > 117:
            lines.append(line)
            line = "   "
        line += " " + cell + ","
    lines.append(line)
    body = "\n".join(lines)
    return (
        f"\nnamespace {{\nconstexpr {kind} {name}_rows[] = {{\n{body}\n}};\n}}  // namespace\n\n"
        f"std::span<const {kind}> {name}() {{\n    return {name}_rows;\n}}\n"
    )


def main():
    text = BEGIN + table("Decomposition", "decompositions", decompositions())
    text += table("CombiningRun", "combining_runs", classes()) + END
    OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
