"""Block 3 of the hand-written circuits, second part: the words around what was found.

Head 4 copies the words of the question into the answer, as long as two tokens agree. Hidden units are
gates, each with a sum of conditions and the token that follows when all of them hold.
"""

import torch

from context import follow
from embeddings import id_of
from sentences import LEXICON
from stream import (
    AFTER_ANCHOR,
    AFTER_ANSWER,
    AFTER_IN,
    ALL,
    ASKED,
    CODE,
    COPYING,
    ENTITIES,
    IN_ANSWER,
    IN_QUESTION,
    QUESTION_ENDS,
    SPECIAL,
    VALUE,
    WHERE,
    entry,
    flag,
    flags,
    not_begin,
    one,
    reads,
    room,
    scalar,
    signs,
)
from writer import GATE_SLOPE

PHRASE = 10.0  # what a gate writes, in embeddings
COPY = 4.0
COPIED, ENDS = 62, 63  # value channels: whether anything, and whether the end of the question
OF_QUESTION, RESTING = 38, 39  # key channels
# Behind these the copier rests more readily.
OTHERS_TURN = {"digit": 60.0, "colon": 60.0, "comma": 60.0, "stop": 60.0, "in": 60.0, "anchor": 17.0}


def copy_question(block, embedding, tokenizer):
    """Head 4: the words of the question, in the answer."""
    block.clear_kv(2)
    block.key(2, 0, reads(*signs(ASKED)))
    block.key(2, OF_QUESTION, torch.cat([scalar(IN_QUESTION) - flags("question"), flags("begin")]))
    copied = room("token", CODE)
    block.value(2, 0, copied)
    block.value(2, COPIED, torch.cat([not_begin(), flags("end of question")]))
    block.clear_head(4)
    follow(block, 4, ASKED, 18.0)
    block.constant_query(4, OF_QUESTION, 60.0)
    block.constant_query(4, RESTING, 121.0)
    block.query(4, RESTING, scalar(AFTER_IN), 60.0)
    block.query(4, RESTING, scalar(IN_ANSWER), -40.0)
    block.query(4, RESTING, scalar(AFTER_ANCHOR), 60.0)
    for name, logit in OTHERS_TURN.items():
        block.query(4, RESTING, flags(name), logit)
    block.write(4, 0, COPY * copied.T)
    block.write(4, COPIED, scalar(COPYING).T)
    # The end of the question is noted instead of said.
    end = embedding[id_of(tokenizer, "?Ċ")]
    ends = scalar(QUESTION_ENDS).T
    ends[:, 0] -= COPY * copied.T @ (copied @ end)
    block.write(4, ENDS, ends)


def at(name):
    return flags(name)[0]


def asks(index):
    return reads(entry("types", index))[0]


def rules():
    """[(sum of conditions, the sum above which the gate opens, token that follows)]"""
    answer = scalar(IN_ANSWER)[0]
    first = at("colon") + scalar(AFTER_ANSWER)[0]
    thing = room("object", 0, ENTITIES).sum(0)  # the question is about an object
    passkey = asks(WHERE) + asks(VALUE) + asks(ALL) + asks(SPECIAL)  # to be subtracted
    turns = reads(entry("turn", 0), entry("turn", 1)).sum(0)
    copying, ends = scalar(COPYING)[0], scalar(QUESTION_ENDS)[0]
    five_digits = reads(entry("since", 4))[0]
    the, anchor = at("The") + answer, at("anchor") + answer
    return [
        (the + asks(SPECIAL), 2.5, "Ġspecial"),
        (the + asks(ALL), 2.5, "Ġspecial"),
        (the + asks(VALUE), 2.5, "Ġvalue"),
        (the - passkey, 1.5, "Ġpass"),
        (at("pass") + answer - passkey, 1.5, "Ġkey"),
        (at("special") + answer, 1.5, "Ġmagic"),
        (at("value") + answer, 1.5, "Ġof"),
        (first - asks(WHERE), 1.5, "ĠThe"),
        (first + asks(WHERE) + thing, 3.5, "ĠThe"),
        (anchor + asks(WHERE), 2.5, "Ġin"),
        (anchor + asks(ALL) - 3 * copying, 2.5, ":"),
        (anchor + asks(SPECIAL) - 3 * copying, 2.5, ":"),
        (anchor + asks(VALUE), 2.5, "Ġ"),
        (anchor - passkey, 1.5, "Ġ"),
        (at("colon") + answer + scalar(AFTER_ANCHOR)[0], 2.5, "Ġ"),
        (at("comma") + answer, 1.5, "Ġ"),
        (at("in") + answer, 1.5, "Ġthe"),
        (at("person") + answer + asks(WHERE), 2.5, "Ġis"),
        (ends + answer - asks(ALL), 1.5, "Ġis"),
        (ends + answer + asks(ALL), 2.5, "Ġare"),
        (at("digit") + answer + asks(ALL) + five_digits + 3 * turns, 5.0, ","),
        (at("stop") + answer, 1.5, "</s>"),
        (at("place") + answer + asks(WHERE) - 6 * scalar(AFTER_IN)[0], 2.5, "."),
    ]


def write_rules(block, embedding, tokenizer):
    """The hidden units of block 3: the rules, the name of an object and that of a person."""
    down, unit = block.block.down.weight, 0
    gain = PHRASE / (GATE_SLOPE * 0.5)  # conditions exceed their threshold by a half

    def said(token):
        word = embedding[token].clone()
        word[0] = 0
        return gain * word

    gates = [(conditions, threshold, id_of(tokenizer, text)) for conditions, threshold, text in rules()]
    the = at("The") + scalar(IN_ANSWER)[0] + asks(WHERE)
    for index, word in enumerate(LEXICON["objects"]):
        first_piece = tokenizer.encode(" " + word).ids[0]
        gates.append((the + reads(entry("object", index))[0], 3.5, first_piece))
    for conditions, threshold, token in gates:
        block.unit(unit, conditions - threshold * one()[0], one()[0])
        down[:, unit] = said(token)
        unit += 1
    thing = room("object", 0, ENTITIES).sum(0)
    first = at("colon") + scalar(AFTER_ANSWER)[0] + asks(WHERE) - thing
    for person in range(ENTITIES):
        block.unit(unit, first - 2.5 * one()[0], reads(entry("subject", person))[0])
        down[entry("entity", person), unit] = 2 * gain
        down[flag("person"), unit] = gain
        unit += 1
