"""Trains the needle model from scratch, on CPU or CUDA, and exports it as a Hugging Face directory.

    python train.py --out needle-model              # the whole recipe
    python train.py --out try --scale 0.1           # a tenth of the steps
    python train.py --out small --model small       # two layers that find pass keys

The same command continues a run that was stopped: DIR/checkpoint.pt is written every 50 steps.
DIR/losses.csv has the loss of every step.

Three things make this feasible on two cores: the initialisation (initialisation.py), a curriculum
of lengths with one fixed number of tokens a step, and a loss on the answers (batches.py).
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from torch import nn

import batches
from export import TOKENIZER_FILE, export
from initialisation import initialise
from network import NeedleModel, Shape
from ngrams import Rooms
from ngrams import initialise as initialise_with_ngrams


class Phase(NamedTuple):
    length: int
    batch: int  # sequences a step
    steps: int
    first_rate: float
    last_rate: float
    copies: float = 0.0  # share of sequences that only repeat themselves


RECIPE = [
    Phase(256, 48, 350, 1.5e-3, 1.5e-3, 0.12),
    Phase(512, 24, 400, 1.5e-3, 1.2e-3, 0.06),
    Phase(1024, 12, 210, 1.2e-3, 8e-4, 0.03),
    Phase(2048, 6, 150, 8e-4, 5e-4),
    Phase(4096, 3, 80, 5e-4, 2e-4),
    Phase(8192, 2, 30, 2e-4, 3e-5),
    Phase(512, 24, 90, 6e-4, 6e-4),
    Phase(1024, 12, 120, 6e-4, 5e-4),
    Phase(2048, 6, 80, 5e-4, 3e-4),
    Phase(4096, 3, 40, 3e-4, 1e-4),
    Phase(8192, 2, 14, 1e-4, 3e-5),
]


class Plan(NamedTuple):
    """What is trained: the shape, how it starts, on which facts and for how long."""

    shape: Shape
    initialise: Callable  # sets the weights of a new model
    draw: Callable  # facts of a document
    recipe: list


SMALL_ROOMS = Rooms(token=slice(1, 112), ngram=slice(112, 160), fast_pairs=8, slow_pairs=18)
PLANS = {
    "needle": Plan(Shape(), initialise, batches.training_facts, RECIPE),
    "small": Plan(
        Shape(width=160, layers=2, mlp_width=128),
        partial(initialise_with_ngrams, rooms=SMALL_ROOMS),
        batches.small_facts,
        [Phase(256, 16, 300, 1.5e-3, 1.0e-3), Phase(512, 8, 150, 1.0e-3, 1e-4)],
    ),
}
WARM_UP = 30  # steps in which the learning rate rises
STEPS_PER_CHECKPOINT = 50
STEPS_PER_LINE = 25


def scaled(recipe, scale):
    """The recipe with its steps multiplied, at least one step a phase."""
    return [phase._replace(steps=max(1, round(phase.steps * scale))) for phase in recipe]


def new_optimiser(model):
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))


class Trainer:
    """A model in training. The state is all that a later process needs to continue."""

    def __init__(self, plan, seed, device="cpu", compiled=True):
        torch.manual_seed(seed)
        self.recipe = plan.recipe
        self.seed = seed
        self.device = device
        self.draw = plan.draw
        self.random = random.Random(seed)
        self.tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
        self.model = NeedleModel(plan.shape)
        plan.initialise(self.model)
        self.model.to(device)
        self.optimiser = new_optimiser(self.model)
        self.phase, self.step_of_phase, self.step, self.tokens = 0, 0, 0, 0
        self.losses = []  # (step, tokens, length, loss)
        self.loss = torch.compile(self.plain_loss, dynamic=False) if compiled else self.plain_loss

    def plain_loss(self, ids, weights, targets):
        """Weighted cross entropy of the next token."""
        with torch.autocast(self.device, dtype=torch.bfloat16):
            logits = self.model(ids)
        each = functional.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), reduction="none").view_as(weights)
        return (each * weights).sum() / weights.sum()

    def finished(self):
        return self.phase == len(self.recipe)

    def batch(self, phase):
        copied = int(phase.batch * phase.copies)
        parts = [batches.documents(
            self.random, phase.batch - copied, phase.length, self.tokenizer, self.draw)]
        if copied:
            parts.append(batches.copies(
                self.random, copied, phase.length, self.model.shape.vocabulary))
        return (torch.tensor(np.concatenate(part)).to(self.device) for part in zip(*parts))

    def rate(self, phase):
        """The learning rate: geometric from the phase's first to its last, after a warm-up."""
        progress = self.step_of_phase / phase.steps
        steady = phase.first_rate * (phase.last_rate / phase.first_rate) ** progress
        return steady * min(1.0, (self.step + 1) / WARM_UP)

    def advance(self):
        """One step of the recipe; returns its loss."""
        phase = self.recipe[self.phase]
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(phase)
        ids, weights = self.batch(phase)
        loss = self.loss(
            ids[:, :-1].contiguous(), weights[:, 1:].contiguous(), ids[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        self.tokens += phase.batch * phase.length
        self.losses.append((self.step, self.tokens, phase.length, loss.item()))
        self.step_of_phase += 1
        if self.step_of_phase == phase.steps:
            self.phase, self.step_of_phase = self.phase + 1, 0
        return loss.item()

    def save(self, path):
        """Writes the state, replacing the file only once it is whole."""
        state = {
            "model": self.model.state_dict(),
            "shape": self.model.shape.as_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": self.random.getstate(),
            "recipe": [tuple(phase) for phase in self.recipe],
            "seed": self.seed,
            "losses": self.losses,
            "progress": (self.phase, self.step_of_phase, self.step, self.tokens),
        }
        unfinished = path.with_suffix(".partial")
        torch.save(state, unfinished)
        os.replace(unfinished, path)
        write_losses(path.with_name("losses.csv"), self.losses)

    def restore(self, path):
        """Continues from a saved state; one of another recipe or seed is refused."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != [tuple(phase) for phase in self.recipe] or state["seed"] != self.seed:
            raise ValueError(f"{path} belongs to another --model, --scale or --seed; choose another --out")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.setstate(state["random"])
        self.losses = state.get("losses", [])
        self.phase, self.step_of_phase, self.step, self.tokens = state["progress"]


def write_losses(path, losses):
    """The loss of every step as CSV."""
    rows = [f"{step},{tokens},{length},{loss:.4f}" for step, tokens, length, loss in losses]
    path.write_text("\n".join(["step,tokens,length,loss", *rows]) + "\n")


def train(trainer, out):
    """Runs the recipe to its end, with checkpoints; exports the model after every phase."""
    checkpoint, begin = out / "checkpoint.pt", time.monotonic()
    while not trainer.finished():
        phase = trainer.recipe[trainer.phase]
        loss = trainer.advance()
        if trainer.step % STEPS_PER_LINE == 0:
            seconds = time.monotonic() - begin
            print(f"step {trainer.step} length {phase.length} loss {loss:.3f} "
                  f"tokens {trainer.tokens / 1e6:.1f}M seconds {seconds:.0f}", flush=True)
        phase_is_over = trainer.step_of_phase == 0
        if phase_is_over or trainer.step % STEPS_PER_CHECKPOINT == 0:
            trainer.save(checkpoint)
        if phase_is_over:
            export(trainer.model.state_dict(), trainer.model.shape, out)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--model", default="needle", choices=list(PLANS), help="what to train")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of every phase")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--eager", action="store_true", help="do without a compiler")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    plan = PLANS[arguments.model]
    plan = plan._replace(recipe=scaled(plan.recipe, arguments.scale))
    trainer = Trainer(plan, arguments.seed, arguments.device, compiled=not arguments.eager)
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        try:
            trainer.restore(checkpoint)
        except ValueError as problem:
            sys.exit(f"train.py: {problem}")
        print(f"continuing {checkpoint} after step {trainer.step}")
    train(trainer, arguments.out)


if __name__ == "__main__":
    main()
