"""Checks that an evaluation that was stopped continues where it was, and its tables, without a model.

    python evaluate_check.py
"""

import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer

import evaluate
from export import TOKENIZER_FILE

TASK, LENGTH = "where", 256


class Teacher:
    """Predicts the next token of what it is shown, but every third document wrongly."""

    def __init__(self):
        self.shown = 0

    def __call__(self, ids):
        self.shown += 1
        following = torch.roll(ids, -1, 1)
        if self.shown % 3 == 0:
            following += 1
        return torch.nn.functional.one_hot(following).float()


def judged(path, documents, teacher, seed=1):
    answers = evaluate.Answers(path)
    tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
    evaluate.judge(answers, TASK, LENGTH, documents, seed, teacher, tokenizer)
    return answers.of(TASK, LENGTH)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.csv"
        first, second = Teacher(), Teacher()
        begun = judged(path, 4, first)
        whole = judged(path, 7, second)
        assert [right for _, right in begun] == [1, 1, 0, 1], begun
        assert whole[:4] == begun and len(whole) == 7, whole
        assert (first.shown, second.shown) == (4, 3), "documents were judged again"
        again = judged(Path(folder) / "other.csv", 7, Teacher())
        assert [depth for depth, _ in whole] == [depth for depth, _ in again], "other documents"
        assert all(0 <= depth < 1 for depth, _ in whole), whole
        try:
            judged(path, 7, Teacher(), seed=2)
        except ValueError as problem:
            assert "holds another document 0 of where at 256 tokens than --seed 2 draws" in str(problem)
        else:
            raise AssertionError("answers of another seed were continued")
        counted = evaluate.by_depth([(0.0, 1), (0.2, 0), (0.39, 1), (0.99, 1)])
        assert counted == ["1/1", "1/2", "0/0", "0/0", "1/1"], counted
        answers = evaluate.Answers(path)
        answers.path = None
        answers.add("object", 512, 0, 0.5, True)
        printed = evaluate.tables(answers, [TASK, "object"], [LENGTH, 512], [4, 4]).splitlines()
        assert printed[:2] == [f"| task | {LENGTH} | 512 |", "|---|---|---|"], printed
        assert printed[2:4] == [f"| {TASK} | 3/4 |  |", "| object |  | 1/1 |"], printed
        fifths = [" | ".join(evaluate.by_depth(part)) for part in (begun, [(0.5, 1)], begun + [(0.5, 1)])]
        assert printed[7:] == [f"| {TASK} | {fifths[0]} |", f"| object | {fifths[1]} |",
                               f"| all | {fifths[2]} |"], printed
        path.write_text("a,b\n")
        try:
            evaluate.Answers(path)
        except ValueError as problem:
            assert "task,length,document,depth,right" in str(problem)
        else:
            raise AssertionError("a file of other columns was accepted")


if __name__ == "__main__":
    main()
