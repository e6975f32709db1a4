"""Trains for five minutes of two cores and fails unless the model has begun to retrieve.

    python short_run.py [--cpu-seconds 540]

A diet of pass keys at 256 tokens. Passes when the loss has fallen to half and more than half of the
16-digit pass keys of unseen documents come out right. Time is counted in seconds of processor time,
so that a busy machine does not fail it.
"""

import argparse
import random
import sys
import time

import torch

import batches
from evaluate import document, is_right, wilson
from initialisation import initialise
from network import Shape
from plans import Phase, Plan
from train import Trainer

LENGTH = 256
PLAN = Plan(
    Shape(), initialise, batches.pass_key_facts, [Phase(LENGTH, 24, 1000, 1.5e-3, 1.5e-3)])
TASK = "passkey:digits=16"
DOCUMENTS = 40
STEPS_PER_LINE = 10
LOSSES = 5  # steps averaged at either end


def train(trainer, cpu_seconds):
    """Steps until the time is spent; returns the loss of each."""
    losses = []
    while time.process_time() < cpu_seconds:
        losses.append(trainer.advance())
        if trainer.step % STEPS_PER_LINE == 0:
            print(f"step {trainer.step} loss {losses[-1]:.3f} tokens {trainer.tokens / 1e6:.2f}M "
                  f"cpu {time.process_time():.0f} s", flush=True)
    return losses


def right_answers(trainer):
    """How many of the documents the model answers in full."""
    def predict(ids):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return trainer.model(ids)

    source = random.Random(f"{TASK}/{LENGTH}")
    return sum(
        is_right(predict, document(source, TASK, LENGTH, trainer.tokenizer)) for _ in range(DOCUMENTS))


def mean(values):
    return sum(values) / len(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cpu-seconds", type=float, default=540.0)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    trainer = Trainer(PLAN, seed=7, compiled=False)
    losses = train(trainer, arguments.cpu_seconds)
    if len(losses) < 2 * LOSSES:
        sys.exit(f"short_run.py: only {len(losses)} steps in {arguments.cpu_seconds:.0f} s")
    first, last, right = mean(losses[:LOSSES]), mean(losses[-LOSSES:]), right_answers(trainer)
    low, high = wilson(right, DOCUMENTS)
    print(f"loss {first:.3f} to {last:.3f}; {TASK} at {LENGTH} tokens: {right}/{DOCUMENTS} "
          f"[{low:.2f}, {high:.2f}]; cpu {time.process_time():.0f} s")
    if last > first / 2 or right * 2 <= DOCUMENTS:
        sys.exit("short_run.py: the loss did not fall to half, or half of the keys were not found")


if __name__ == "__main__":
    main()
