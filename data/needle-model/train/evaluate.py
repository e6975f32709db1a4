"""Greedy accuracy by task, context length and depth, with 95 % intervals.

    python evaluate.py --model .. --lengths 512,1024 --documents 20
    python evaluate.py --lengths 512,8192 --documents 100,10 --csv answers.csv --table

With --csv every document becomes a row as soon as it is judged, and the same command continues a
run that was stopped. A file holds the answers of one model.

A document counts as right when every token of the answer up to the end of its value is the arg-max
given the true prefix, which is the same as greedy decoding reproducing the answer. Computed in
float32 by transformers.
"""

import argparse
import csv
import math
import random
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from sentences import answer_text, draw_facts, filler_sentence, question_text, weave

TASKS = {
    "passkey:digits=5": {"passkey": 5},
    "passkey:digits=16": {"passkey": 16},
    "passkey:digits=64": {"passkey": 64},
    "multikey:keys=4": {"keys": 4},
    "multikey:keys=16": {"keys": 16},
    "where": {"moves": 12},
    "variable:hops=1": {"variables": 6},
    "object": {"moves": 16, "objects": 2},
    "multivalue:values=3": {"values": 3},
}
# The kind of question a task asks, where it is not the task's own name.
ASKED = {"multikey": "key", "variable": "variable2"}


HEADER = ["task", "length", "document", "depth", "right"]


class Document(NamedTuple):
    """Token ids of a context, a question and its answer; the tokens that must come out right (the
    answer up to the end of its value); and how deep in the context the first fact lies, 0 to 1."""

    ids: list
    judged: range
    depth: float


def asked_question(source, task):
    """Facts of the task and one question of its kind."""
    kind = task.split(":")[0]
    while True:
        facts = draw_facts(source, **TASKS[task])
        asked = [found for found in facts.questions if found.kind == ASKED.get(kind, kind)]
        if asked:
            return facts, source.choice(asked)


def filler(source, room, tokenizer):
    sentences = []
    while room > 12:
        sentences.append(filler_sentence(source))
        room -= len(tokenizer.encode(" " + sentences[-1]).ids)
    return sentences


def document(source, task, length, tokenizer):
    """A document of `length` tokens, to within a sentence."""
    facts, asked = asked_question(source, task)
    needles = tokenizer.encode(" ".join(facts.loose + facts.ordered))
    sentences = weave(source, facts, filler(source, length - len(needles.ids), tokenizer))
    context = " ".join(sentences)
    prompt = "<s>" + context + question_text(asked.question)
    answer = answer_text(asked.answer)
    end = len(prompt) + answer.rindex(asked.value) + len(asked.value)
    encoded = tokenizer.encode(prompt + answer)
    judged = [token for token, (first, last) in enumerate(encoded.offsets)
              if last > len(prompt) and first < end]
    depth = min(context.index(sentence) for sentence in asked.support) / len(context)
    return Document(encoded.ids, range(judged[0], judged[-1] + 1), depth)


def is_right(predict, drawn):
    """Whether the logits that `predict` gives for token ids [1, time] name every judged token."""
    first, last = drawn.judged.start, drawn.judged.stop
    with torch.no_grad():
        logits = predict(torch.tensor([drawn.ids]))[0, first - 1:last - 1]
    return torch.equal(logits.argmax(-1).cpu(), torch.tensor(drawn.ids[first:last]))


def wilson(right, count, z=1.96):
    """The Wilson score interval of a proportion."""
    share = right / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


class Answers:
    """Which documents were answered right, kept in a CSV file if there is one."""

    def __init__(self, path):
        self.path, self.rows = path, []
        if path and path.exists():
            with path.open(newline="") as file:
                rows = csv.DictReader(file)
                if rows.fieldnames != HEADER:
                    raise ValueError(f"{path} does not begin with {','.join(HEADER)}; choose another --csv")
                self.rows = [(row["task"], int(row["length"]), int(row["document"]),
                              float(row["depth"]), int(row["right"])) for row in rows]
        elif path:
            path.write_text(",".join(HEADER) + "\n")

    def of(self, task, length):
        """(depth, right) of every document judged so far."""
        return [row[3:] for row in self.rows if row[:2] == (task, length)]

    def add(self, task, length, number, depth, right):
        row = (task, length, number, round(depth, 4), int(right))
        self.rows.append(row)
        if self.path:
            with self.path.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(row)


def judge(answers, task, length, documents, seed, predict, tokenizer):
    """Judges the documents of one cell that were not judged yet; a ValueError if those that were
    are not the documents of this seed."""
    source = random.Random(f"{seed}/{task}/{length}")
    judged = answers.of(task, length)
    for number in range(documents):
        drawn = document(source, task, length, tokenizer)
        if number >= len(judged):
            answers.add(task, length, number, drawn.depth, is_right(predict, drawn))
        elif judged[number][0] != round(drawn.depth, 4):
            raise ValueError(f"{answers.path} holds another document {number} of {task} at {length} tokens than "
                             f"--seed {seed} draws; give the seed it was begun with, or choose another --csv")


def by_depth(judged):
    """Right and all documents whose fact lies in each fifth of the context, as "right/all"."""
    fifths = [[right for depth, right in judged if min(4, int(depth * 5)) == fifth] for fifth in range(5)]
    return [f"{sum(part)}/{len(part)}" for part in fifths]


def markdown(heading, rows):
    """A Markdown table."""
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def tables(answers, tasks, lengths, documents):
    """Right answers by task and length, and by task and depth, of so many documents of every length
    each, as Markdown tables."""
    cells = {task: [answers.of(task, length)[:count] for length, count in zip(lengths, documents)]
             for task in tasks}
    by_length = [[task] + [f"{sum(right for _, right in cell)}/{len(cell)}" if cell else "" for cell in row]
                 for task, row in cells.items()]
    of_task = {task: sum(row, []) for task, row in cells.items()}
    of_task["all"] = sum(of_task.values(), [])
    heading = ["first fact in", "first fifth", "second", "third", "fourth", "last"]
    return (markdown(["task", *map(str, lengths)], by_length) + "\n\n" +
            markdown(heading, [[task, *by_depth(judged)] for task, judged in of_task.items()]))


def fits(task, length):
    sizes = TASKS[task]
    return sizes.get("keys", 0) * 24 <= length * 0.8 and sizes.get("passkey", 0) <= length / 4


def whole_numbers(text):
    return [int(number) for number in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent.parent))
    parser.add_argument("--lengths", type=whole_numbers, default="512,1024,2048,4096")
    parser.add_argument("--documents", type=whole_numbers, default="40",
                        help="per task and length; or a number for every length")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="keeps every answer, and continues")
    parser.add_argument("--table", action="store_true", help="prints Markdown tables at the end")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    if len(arguments.documents) == 1:
        arguments.documents *= len(arguments.lengths)
    if len(arguments.documents) != len(arguments.lengths):
        parser.error("--documents takes one number, or as many as --lengths")
    return arguments


def main():
    arguments = parse_arguments()
    try:
        answers = Answers(arguments.csv)
    except ValueError as problem:
        sys.exit(f"evaluate.py: {problem}")
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    model = model.eval().to(arguments.device)
    tokenizer = Tokenizer.from_file(arguments.model + "/tokenizer.json")

    def predict(ids):
        return model(ids.to(arguments.device)).logits

    for length, documents in zip(arguments.lengths, arguments.documents):
        for task in arguments.tasks:
            if not fits(task, length):
                continue
            try:
                judge(answers, task, length, documents, arguments.seed, predict, tokenizer)
            except ValueError as problem:
                sys.exit(f"evaluate.py: {problem}")
            judged = answers.of(task, length)[:documents]
            right, count = sum(found for _, found in judged), len(judged)
            low, high = wilson(right, count)
            share = f"{right / count:.2f} [{low:.2f}, {high:.2f}]"
            print(f"{length:6d} {task:22s} {right:3d}/{count}  {share}  by depth {' '.join(by_depth(judged))}",
                  flush=True)
    if arguments.table:
        print("\n" + tables(answers, arguments.tasks, arguments.lengths, arguments.documents))


if __name__ == "__main__":
    main()
