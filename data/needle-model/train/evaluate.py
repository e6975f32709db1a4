"""Greedy accuracy by task and context length, as the table of ../README.md, with 95 % intervals.

    python evaluate.py --model .. --lengths 512,1024 --documents 20

A document counts as right when every token of the answer up to the end of its value is the arg-max
given the true prefix, which is the same as greedy decoding reproducing the answer. Computed in
float32 by transformers.
"""

import argparse
import math
import random
from pathlib import Path

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
    """Token ids of a context of `length` tokens (to within a sentence), a question and its answer,
    and the range of tokens that must come out right: the answer up to the end of its value."""
    facts, asked = asked_question(source, task)
    needles = tokenizer.encode(" ".join(facts.loose + facts.ordered))
    sentences = weave(source, facts, filler(source, length - len(needles.ids), tokenizer))
    prompt = "<s>" + " ".join(sentences) + question_text(asked.question)
    answer = answer_text(asked.answer)
    end = len(prompt) + answer.rindex(asked.value) + len(asked.value)
    encoded = tokenizer.encode(prompt + answer)
    judged = [token for token, (first, last) in enumerate(encoded.offsets)
              if last > len(prompt) and first < end]
    return encoded.ids, range(judged[0], judged[-1] + 1)


def is_right(predict, ids, judged):
    """Whether the logits that `predict` gives for token ids [1, time] name every judged token."""
    with torch.no_grad():
        logits = predict(torch.tensor([ids]))[0, judged.start - 1:judged.stop - 1]
    return torch.equal(logits.argmax(-1).cpu(), torch.tensor(ids[judged.start:judged.stop]))


def wilson(right, count, z=1.96):
    """The Wilson score interval of a proportion."""
    share = right / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def fits(task, length):
    sizes = TASKS[task]
    return sizes.get("keys", 0) * 24 <= length * 0.8 and sizes.get("passkey", 0) <= length / 4


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent.parent))
    parser.add_argument("--lengths", default="512,1024,2048,4096")
    parser.add_argument("--documents", type=int, default=40, help="per task and length")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    model = model.eval().to(arguments.device)
    tokenizer = Tokenizer.from_file(arguments.model + "/tokenizer.json")

    def predict(ids):
        return model(ids.to(arguments.device)).logits

    for length in map(int, arguments.lengths.split(",")):
        for task in arguments.tasks:
            if not fits(task, length):
                continue
            source = random.Random(f"{arguments.seed}/{task}/{length}")
            count = arguments.documents
            right = sum(is_right(predict, *document(source, task, length, tokenizer)) for _ in range(count))
            low, high = wilson(right, count)
            share = f"{right / count:.2f} [{low:.2f}, {high:.2f}]"
            print(f"{length:6d} {task:22s} {right:3d}/{count}  {share}", flush=True)


if __name__ == "__main__":
    main()
