"""The residual stream of the model with hand-written circuits: its rooms, and rows that read them.

A room is a range of entries of the stream with one meaning. Embeddings fill the first rooms; heads
and hidden units, written down in context.py, facts.py and answers.py, read rooms and fill others.
Entry 0 is a large constant, so that the norm of the stream is nearly the same at every token and a
head can be thought of as plain bilinear forms of rooms, with values in logits.

A *reading* is a matrix [n, WIDTH]: n linear forms of the stream.
"""

import torch

FLAGS = [
    "begin", "person", "place", "object", "to", "stop", "comma", "digit", "anchor", "colon", "take",
    "drop", "space", "question", "all", "are", "answer", "where", "value", "special",
    "end of question", "in", "The", "pass",
]
ENTITIES = 24  # people, places or objects: at most so many of a kind
ROOMS = [
    ("constant", 1),
    ("flags", 25),  # what kind of token it is; the last entry fills up the norm of the beginning
    ("entity", ENTITIES),  # which person, place or object
    ("token", 72),  # CODE signs that heads match, then what logits are read from
    ("ngram", 51),  # signs of the tokens before (NGRAM)
    ("scalars", 12),
    ("types", 4),  # what the question asks for
    ("since", 6),  # how many tokens back a number began
    ("rank", 4),  # of a fact: the first, second, ... of its name
    ("turn", 4),  # of an answer: the first, second, ... of a list
    ("subject", 25),  # the latest person, and how often it was mentioned
    ("object", 25),  # the latest object, and the same
    ("kind", 2),  # whether the latest verb takes or drops
    ("lying", ENTITIES),  # where a dropped object lies
    ("holder", ENTITIES),  # who took it
    ("name", 36),  # signs of the tokens before the latest "is", "are" or "="
    ("alias", 36),  # of the name that this name stands for
    ("free", 9),
]
WIDTH = sum(size for _, size in ROOMS)
(MENTIONS, AFTER_TO, AFTER_DIGIT, AFTER_ANCHOR, IN_ANSWER, NAMED, LISTED, IN_QUESTION, QUESTION_ENDS,
 AFTER_ANSWER, AFTER_IN, COPYING) = range(12)  # entries of the room of scalars
WHERE, VALUE, ALL, SPECIAL = range(4)  # entries of the room of types
TAKEN, DROPPED = range(2)  # entries of the room of kinds

CONSTANT = 5.0
SQUARE = 4.0  # of everything else in an embedding
CODE = 12  # signs at the start of the token room
CODE_SQUARE = 0.6  # of a whole code
SIGN_SQUARE = CODE_SQUARE / CODE

# How many signs of the tokens 1 to 5 back the n-gram room holds, and of the sum of about 6 to 9 back;
# then how many of them heads read for one purpose or another.
NGRAM = [12, 10, 8, 7, 6, 8]
SHARP = [12, 10, 8, 5, 3, 0]
ASKED = [12, 10, 5, 2, 0, 0]
LONG = [8, 7, 6, 6, 5, 6]
NAME = [10, 7, 6, 5, 4, 4]  # what the room of names holds
ALIAS = [10, 7, 4, 2, 0, 0]  # and what is read of it
SHORT_NAME = [9, 6, 5, 5, 3, 0]


def places():
    begin, rooms = 0, {}
    for name, size in ROOMS:
        rooms[name], begin = slice(begin, begin + size), begin + size
    return rooms


ROOM = places()
NORM_FILLER = ROOM["flags"].stop - 1


def flag(name):
    """The entry of a flag."""
    return ROOM["flags"].start + FLAGS.index(name)


def entry(room, index=0):
    return ROOM[room].start + index


def reads(*entries):
    """One row for every entry of the stream."""
    reading = torch.zeros(len(entries), WIDTH)
    for row, index in enumerate(entries):
        reading[row, index] = 1
    return reading


def flags(*names):
    return reads(*(flag(name) for name in names))


def scalar(index):
    return reads(entry("scalars", index))


def room(name, begin=0, end=None):
    taken = ROOM[name]
    return reads(*range(taken.start, taken.stop)[begin:end])


def one():
    """1 everywhere."""
    return reads(0) / CONSTANT


def not_begin():
    return one() - flags("begin")


def only(reading, rows):
    """The reading with all other rows zero."""
    kept = torch.zeros_like(reading)
    kept[rows] = reading[rows]
    return kept


def signs(sizes):
    """The entries of the n-gram room that hold the first `sizes[h]` signs of the token h + 1 back."""
    begin, chosen = ROOM["ngram"].start, []
    for kept, size in zip(sizes, NGRAM):
        chosen += range(begin, begin + kept)
        begin += size
    return chosen


def before(sizes):
    """The same entries of the position after this one: the token itself is one back by then."""
    own = range(ROOM["token"].start, ROOM["token"].start + CODE)
    begin, chosen, earlier = ROOM["ngram"].start, [], own
    for kept, size in zip(sizes[:-1], NGRAM):
        chosen += list(earlier)[:kept]
        earlier, begin = range(begin, begin + size), begin + size
    return [*chosen, *range(begin, begin + sizes[-1])]


def within_name(sizes):
    """The rows within the room of names of the first `sizes[h]` signs of each of its tokens."""
    begin, chosen = 0, []
    for kept, size in zip(sizes, NAME):
        chosen += range(begin, begin + kept)
        begin += size
    return chosen


def square(sizes):
    """The square of the norm of these entries."""
    return sum(sizes) * SIGN_SQUARE


# What training may change of embeddings: what no head matches.
FREE_ENTRIES = [
    *range(ROOM["token"].start + CODE, ROOM["token"].stop),
    *range(ROOM["free"].start, ROOM["free"].stop),
]
