"""Checks that an evaluation that was stopped continues where it was, without a model.

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


def judged(path, documents, teacher):
    answers = evaluate.Answers(path)
    tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
    evaluate.judge(answers, TASK, LENGTH, documents, 1, teacher, tokenizer)
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
        counted = [part.split("/") for part in evaluate.by_depth(whole)]
        assert sum(int(right) for right, _ in counted) == sum(right for _, right in whole), counted
        answers = evaluate.Answers(path)
        printed = evaluate.tables(answers, [TASK], [LENGTH, 512], [4, 4]).splitlines()
        assert printed[:3] == [f"| task | {LENGTH} | 512 |", "|---|---|---|", f"| {TASK} | 3/4 |  |"], printed
        fifths = " | ".join(evaluate.by_depth(begun))
        assert printed[6:] == [f"| {TASK} | {fifths} |", f"| all | {fifths} |"], printed
        path.write_text("a,b\n")
        try:
            evaluate.Answers(path)
        except ValueError as problem:
            assert "task,length,document,depth,right" in str(problem)
        else:
            raise AssertionError("a file of other columns was accepted")


if __name__ == "__main__":
    main()
