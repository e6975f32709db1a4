"""What `generate` is asked, refused before the model runs where it cannot be meant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvtape.arguments import expect_task, expect_text, expect_whole, shown
from kvtape.errors import UsageError
from kvtape.schema import LARGEST_SEED

#: A piece of the context that stands in it once, or a range of its characters.
Place = str | tuple[int, int]

_DOING = "recording a prompt"
_MOST_TOKENS = 1 << 30


@dataclass(frozen=True)
class Asked:
    """The arguments of one `generate`, of the types they say."""

    prompt: str
    question: str
    needles: list[Place]
    distractors: list[Place]
    answer: str
    task: str
    seed: int
    max_new_tokens: int
    add_special_tokens: bool


def read_arguments(
    prompt: Any, question: Any, needles: Any, distractors: Any, seed: Any, max_new_tokens: Any, **rest: Any
) -> Asked:
    """Refuses, in one line, what a recording could not hold."""
    for name, text in (("prompt", prompt), ("question", question), ("answer", rest["answer"])):
        expect_text(_DOING, name, text)
    if not prompt:
        raise UsageError(
            f"{_DOING}: prompt is empty, expected the text that a policy compresses; give a question "
            "alone as prompt"
        )
    expect_task(_DOING, rest["task"])
    expect_whole(_DOING, "seed", seed, LARGEST_SEED)
    expect_whole(_DOING, "max_new_tokens", max_new_tokens, _MOST_TOKENS)
    if not isinstance(rest["add_special_tokens"], bool):
        found = shown(rest["add_special_tokens"])
        raise UsageError(f"{_DOING}: add_special_tokens is {found}, expected True or False")
    return Asked(
        prompt,
        question,
        _places("needles", needles),
        _places("distractors", distractors),
        seed=int(seed),
        max_new_tokens=int(max_new_tokens),
        **rest,
    )


def _places(name: str, places: Any) -> list[Place]:
    if isinstance(places, (str, bytes)) or not isinstance(places, Iterable):
        raise UsageError(
            f"{_DOING}: {name} is {shown(places)}, expected a list of pieces of the prompt or of ranges "
            "(begin, end) of its characters"
        )
    return [_place(name, place) for place in places]


def _place(name: str, place: Any) -> Place:
    if isinstance(place, str):
        expect_text(_DOING, name, place)
        return place
    if isinstance(place, (tuple, list)) and len(place) == 2 and all(map(_is_whole, place)):
        return int(place[0]), int(place[1])
    raise UsageError(
        f"{_DOING}: {name} hold {shown(place)}, expected a piece of the prompt or a range (begin, end) "
        "of its characters"
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
