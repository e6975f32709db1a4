"""How far training is: losses of every step, and right answers at every checkpoint, as CSV."""

import random

from evaluate import TASKS, document, is_right

DOCUMENTS, LENGTH = 4, 512  # of a task, the same at every checkpoint


def right_answers(predict, tokenizer):
    """[(task, right answers, documents)] for logits that `predict` gives for token ids [1, time]."""
    rows = []
    for task in TASKS:
        source = random.Random(f"measure/{task}")
        drawn = [document(source, task, LENGTH, tokenizer) for _ in range(DOCUMENTS)]
        rows.append((task, sum(is_right(predict, each) for each in drawn), DOCUMENTS))
    return rows


def line_of(right):
    """The latest right answers of every task."""
    return " ".join(f"{task} {count}/{all_of}" for _, _, task, count, all_of in right[-len(TASKS):])


def write_losses(path, losses):
    """The loss of every step as CSV."""
    rows = [f"{step},{tokens},{length},{loss:.4f}" for step, tokens, length, loss in losses]
    path.write_text("\n".join(["step,tokens,length,loss", *rows]) + "\n")


def write_accuracy(path, right):
    """Right answers by step and task as CSV."""
    rows = [",".join(map(str, row)) for row in right]
    path.write_text("\n".join(["step,tokens,task,right,documents", *rows]) + "\n")
