"""What train.py can train: shapes, how they start, on which facts, for how long."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import batches
import circuits
from freedom import CIRCUIT_BLOCKS, free_weights
from initialisation import initialise
from network import Shape
from ngrams import Rooms
from ngrams import initialise as initialise_with_ngrams
from stream import FREE_ENTRIES, WIDTH


class Phase(NamedTuple):
    length: int
    batch: int  # sequences a step
    steps: int
    first_rate: float
    last_rate: float
    copies: float = 0.0  # share of sequences that only repeat themselves


# Circuits answer one question a document, and need no training: the blocks above them learn prose.
RECIPE = [
    Phase(512, 8, 200, 3e-3, 2e-3),
    Phase(512, 8, 150, 2e-3, 4e-4),
    Phase(1024, 4, 60, 4e-4, 2e-4),
    Phase(2048, 2, 30, 2e-4, 1e-4),
    Phase(4096, 1, 15, 1e-4, 5e-5),
]

# The earlier model: heads that look back and match to begin with, and everything is trained.
TRAINED_RECIPE = [
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
    shape: Shape
    initialise: Callable  # sets the weights of a new model
    draw: Callable  # facts of a document
    recipe: list
    most_questions: int | None = None  # of a document
    answer_gain: float = 1.0  # multiplies the loss of answers
    free: Callable | None = None  # what may change: masks of weights by name; None is everything
    frozen_blocks: int = 0  # of the first blocks, which no gradient passes
    finish: Callable | None = None  # changes the weights of the trained model


SMALL_ROOMS = Rooms(token=slice(1, 112), ngram=slice(112, 160), fast_pairs=8, slow_pairs=18)
PLANS = {
    "needle": Plan(
        Shape(width=WIDTH, mlp_width=384, rope_theta=circuits.THETA),
        circuits.initialise,
        batches.training_facts,
        RECIPE,
        most_questions=1,
        answer_gain=5.0,
        free=partial(free_weights, embedding=FREE_ENTRIES),
        frozen_blocks=CIRCUIT_BLOCKS,
        finish=circuits.finish,
    ),
    "trained": Plan(Shape(), initialise, batches.training_facts, TRAINED_RECIPE),
    "small": Plan(
        Shape(width=160, layers=2, mlp_width=128),
        partial(initialise_with_ngrams, rooms=SMALL_ROOMS),
        batches.small_facts,
        [Phase(256, 16, 300, 1.5e-3, 1.0e-3), Phase(512, 8, 150, 1.0e-3, 1e-4)],
    ),
}
