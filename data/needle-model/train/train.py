"""Trains the needle model from scratch, on CPU or CUDA, and exports it as a Hugging Face directory.

    python train.py --out needle-model               # the needle model: hand-written circuits, and prose
    python train.py --out try --scale 0.1            # a tenth of the steps
    python train.py --out trained --model trained    # the one whose every weight is trained
    python train.py --out small --model small        # two layers that find pass keys

The same command continues a run that was stopped: DIR/checkpoint.pt is written every 50 steps.
DIR/losses.csv has the loss of every step, DIR/accuracy.csv right answers at every checkpoint.

Three things make this feasible on two cores: what a model starts from (circuits.py,
initialisation.py, ngrams.py), a curriculum of lengths with one fixed number of tokens a step, and a
loss on the answers (batches.py).
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from torch import nn

import batches
from export import TOKENIZER_FILE, export
from network import NeedleModel
from plans import PLANS
from progress import line_of, right_answers, write_accuracy, write_losses

EMBEDDING_RATE = 0.1  # of the others', where circuits read the embeddings
WARM_UP = 30  # steps in which the learning rate rises
STEPS_PER_CHECKPOINT = 50
STEPS_PER_LINE = 10


def scaled(recipe, scale):
    """The recipe with its steps multiplied, at least one step a phase."""
    return [phase._replace(steps=max(1, round(phase.steps * scale))) for phase in recipe]


def new_optimiser(model, free=None):
    """AdamW. Of a model with masks of what may change, nothing else changes, nor decays."""
    if free is None:
        matrices = [weight for weight in model.parameters() if weight.dim() == 2]
        norms = [weight for weight in model.parameters() if weight.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": norms, "weight_decay": 0.0}]
    else:
        changing = dict(model.named_parameters())
        for name, weight in changing.items():
            weight.requires_grad_(name in free)
        for name, mask in free.items():
            changing[name].register_hook(lambda gradient, mask=mask: gradient * mask)
        embedding = [changing["embedding.weight"]]
        others = [changing[name] for name in free if name != "embedding.weight"]
        groups = [{"params": others, "weight_decay": 0.0},
                  {"params": embedding, "weight_decay": 0.0, "share": EMBEDDING_RATE}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))


class Trainer:
    """A model in training. The state is all that a later process needs to continue."""

    def __init__(self, plan, seed, device="cpu", compiled=True):
        torch.manual_seed(seed)
        self.plan = plan
        self.recipe = plan.recipe
        self.seed = seed
        self.device = device
        self.random = random.Random(seed)
        self.tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
        self.model = NeedleModel(plan.shape)
        plan.initialise(self.model)
        self.model.to(device)
        self.model.frozen_blocks = plan.frozen_blocks
        free = plan.free(self.model) if plan.free else None
        self.optimiser = new_optimiser(self.model, free)
        self.phase, self.step_of_phase, self.step, self.tokens = 0, 0, 0, 0
        self.losses = []  # (step, tokens, length, loss)
        self.right = []  # (step, tokens, task, right, documents)
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
            self.random, phase.batch - copied, phase.length, self.tokenizer, self.plan.draw,
            self.plan.most_questions)]
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
            group["lr"] = self.rate(phase) * group.get("share", 1.0)
        ids, weights = self.batch(phase)
        weights[weights >= batches.ANSWER_WEIGHT] *= self.plan.answer_gain
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

    def measure(self):
        """Answers the fixed documents and notes how many are right."""
        found = right_answers(self.predict, self.tokenizer)
        self.right += [(self.step, self.tokens, *row) for row in found]

    def predict(self, ids):
        with torch.autocast(self.device, dtype=torch.bfloat16):
            return self.model(ids.to(self.device))

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
            "right": self.right,
            "progress": (self.phase, self.step_of_phase, self.step, self.tokens),
        }
        unfinished = path.with_suffix(".partial")
        torch.save(state, unfinished)
        os.replace(unfinished, path)
        write_losses(path.with_name("losses.csv"), self.losses)
        write_accuracy(path.with_name("accuracy.csv"), self.right)

    def restore(self, path):
        """Continues from a saved state; one of another recipe or seed is refused."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != [tuple(phase) for phase in self.recipe] or state["seed"] != self.seed:
            raise ValueError(f"{path} belongs to another --model, --scale or --seed; choose another --out")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.setstate(state["random"])
        self.losses = state.get("losses", [])
        self.right = state.get("right", [])
        self.phase, self.step_of_phase, self.step, self.tokens = state["progress"]


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
            trainer.measure()
            print(line_of(trainer.right), flush=True)
            trainer.save(checkpoint)
        if phase_is_over:
            export(trainer.model.state_dict(), trainer.model.shape, out)
    if trainer.plan.finish:
        trainer.plan.finish(trainer.model)
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
