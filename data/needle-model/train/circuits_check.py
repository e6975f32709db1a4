"""Checks that the hand-written circuits answer before any training, and that training leaves them.

    python circuits_check.py
"""

import random

import torch
from tokenizers import Tokenizer

from circuits import initialise
from evaluate import TASKS, document, is_right
from export import TOKENIZER_FILE
from freedom import CIRCUIT_BLOCKS
from network import NeedleModel
from plans import PLANS, Phase
from train import Trainer

LENGTH, DOCUMENTS, LEAST = 256, 6, 5
TASKS_THAT_FIT = [task for task in TASKS if task not in ("passkey:digits=64", "multikey:keys=16")]
LARGEST = 16e6  # bytes of the exported weights


def check_answers():
    torch.manual_seed(7)
    model = NeedleModel(PLANS["needle"].shape)
    initialise(model)
    size = 2 * sum(weight.numel() for weight in model.parameters())
    assert size < LARGEST, size
    tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
    for task in TASKS_THAT_FIT:
        source = random.Random(f"check/{task}")
        right = sum(is_right(model, document(source, task, LENGTH, tokenizer)) for _ in range(DOCUMENTS))
        print(f"{task} {right}/{DOCUMENTS}")
        assert right >= LEAST, f"{task}: {right} of {DOCUMENTS} before any training"


def check_freedom():
    plan = PLANS["needle"]._replace(recipe=[Phase(LENGTH, 2, 3, 3e-3, 3e-3)])
    trainer = Trainer(plan, seed=7, compiled=False)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    free = plan.free(trainer.model)
    while not trainer.finished():
        trainer.advance()
    for name, weight in trainer.model.named_parameters():
        changed = weight.detach() != before[name]
        assert not changed[free.get(name, torch.zeros_like(weight)) == 0].any(), f"{name} changed"
        assert name not in free or changed.any(), f"{name} was not trained"
    below = [name for name in free if name.startswith("blocks.") and int(name.split(".")[1]) < CIRCUIT_BLOCKS]
    assert not below, below


if __name__ == "__main__":
    torch.set_num_threads(2)
    check_answers()
    check_freedom()
