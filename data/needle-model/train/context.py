"""Blocks 0 and 1 of the hand-written circuits: every token learns what stands around it.

Block 0 looks back: heads 0 to 4 write signs of the tokens 1 to 5 back into the n-gram room, head 5 a
sum of those about 6 to 9 back. Head 6 marks question and answer, head 7 counts mentions.

Block 1 keeps what was last: heads 0 to 3 find the latest person, name, object and verb, however many
of them the text holds. Heads 4 and 6 copy what followed earlier occurrences of the last tokens. Heads
5 and 7 count: a head that gives the beginning and n equal tokens the same logit leaves 1 / (1 + n) of
its attention at the beginning, which hidden units turn into marks for n = 0, 1, 2, 3.
"""

from torch import cat

from stream import (
    AFTER_ANCHOR,
    AFTER_ANSWER,
    AFTER_DIGIT,
    AFTER_IN,
    AFTER_TO,
    CODE,
    IN_ANSWER,
    IN_QUESTION,
    LISTED,
    LONG,
    MENTIONS,
    NAME,
    NAMED,
    NGRAM,
    NORM_FILLER,
    ROOM,
    SHARP,
    SIGN_SQUARE,
    before,
    entry,
    flags,
    not_begin,
    one,
    reads,
    room,
    scalar,
    signs,
    square,
)
from writer import BEGIN_SHARE, GATE_SLOPE, Writer, kernel

# Logits by rotary pair (at distance 0) of heads that look at one position, at the sum of about 6 to 9
# back, and at the latest token with a mark.
LOOK_BACK = dict.fromkeys(range(7), 12.0)
BAG, BAG_BACK, BAG_GAIN = dict.fromkeys(range(1, 7), 5.0), 7.5, 2.0
NEAR = dict.fromkeys(range(2, 10), 15.0)
NEAREST = dict.fromkeys(range(1, 10), 15.0)
FAST_PAIRS = 10

MARKED = ["digit", "to", "begin", "anchor", "question", "space", "answer", "in"]
(DIGIT, TO, BEGIN, ANCHOR, QUESTION, SPACE, ANSWER, IN) = range(48, 48 + len(MARKED))  # value channels
COUNTED = 62  # the value channel that is 1 at the beginning

# The marks of local_keys, in order of channels.
LOCAL = ["begin", "person", "object", "anchor", "are", "take", "drop"]
AT_BEGIN, AT_PERSON, AT_OBJECT, AT_ANCHOR, AT_ARE, AT_TAKE, AT_DROP, ELSEWHERE = range(8)
WHO, VERB, BEFORE = 0, 25, 27  # value channels of the same

THRESHOLDS = [0.7, 0.41, 0.287, 0.218, 0.178]  # between 1, 1/2, 1/3, 1/4, 1/5 and 1/6
COUNT_SLOPE, COUNT_SLACK = 200.0, 0.015


def look_back(block, shape):
    """Block 0."""
    block = Writer(block, shape, 0.0)
    for kv_head in range(4):
        block.clear_kv(kv_head)
        block.distance_key(kv_head, FAST_PAIRS)
        block.value(kv_head, 0, room("token", 0, CODE))
        marks = flags(*MARKED)
        marks[ANCHOR - DIGIT] += flags("colon", "comma").sum(0)
        block.value(kv_head, DIGIT, marks)
    remember_tokens(block)
    for head, channel, written in [(0, DIGIT, AFTER_DIGIT), (0, ANCHOR, AFTER_ANCHOR), (0, IN, AFTER_IN),
                                   (0, ANSWER, AFTER_ANSWER), (1, TO, AFTER_TO)]:
        block.write(head, channel, scalar(written).T)
    subject = cat([room("entity"), flags("person", "object")])
    block.key(3, 0, cat([subject, flags("begin", "question", "answer")]))
    first = len(subject)
    block.clear_head(6)
    for channel, logit in enumerate([20.0, 40.0, 60.0], first):
        block.constant_query(6, channel, logit)
    block.write(6, QUESTION, scalar(IN_QUESTION).T)
    block.write(6, ANSWER, scalar(IN_ANSWER).T)
    # Of n mentions: 1 / (1 + n e^-3) of the attention stays at the beginning.
    block.clear_head(7)
    block.query(7, 0, subject, 12.0)
    block.constant_query(7, first, 27.0)
    block.write(7, BEGIN, scalar(MENTIONS).T)


def remember_tokens(block):
    """The n-gram room, and where in a number a token stands. A number begins with a blank, which
    counts in full only behind "is", "are", "=" or another sign of the kind, one token further back."""
    begin = ROOM["ngram"].start
    for head, size in enumerate(NGRAM):
        block.clear_head(head)
        written = reads(*range(begin, begin + size)).T
        begin += size
        if head == 5:
            block.distance_query(head, BAG, BAG_BACK)
            block.write(head, 0, BAG_GAIN * written)
            continue
        block.distance_query(head, LOOK_BACK, head + 1)
        block.write(head, 0, written)
        block.write(head, SPACE, (0.5 if head < 4 else 1.0) * reads(entry("since", head)).T)
        if head > 0:
            block.write(head, ANCHOR, 0.5 * reads(entry("since", head - 1)).T)


def local_keys(block, kv_head):
    """Keys by position and by what a token is; values: who, how often, and what stood before."""
    block.clear_kv(kv_head)
    block.distance_key(kv_head, FAST_PAIRS)
    marks = flags(*LOCAL)
    marks[AT_ARE] += scalar(IN_ANSWER)[0] - not_begin()[0]  # that of an answer
    block.key(kv_head, AT_BEGIN, cat([marks, not_begin()]))
    block.value(kv_head, WHO, cat([
        room("entity"), scalar(MENTIONS), flags("take", "drop"), reads(*signs(NAME))]))


def latest(block, head, marks, logits, reach):
    """The latest token with one of the marks, at most about `reach` tokens back, or nothing."""
    block.clear_head(head)
    block.distance_query(head, logits)
    for mark in marks:
        block.constant_query(head, mark, 40.0)
    block.constant_query(head, ELSEWHERE, -kernel(block.shape, logits, reach))
    block.constant_query(head, AT_BEGIN, 40.0)


def follow(block, head, sizes, logit):
    """The query for what would continue the text; a first token that agrees is worth `logit`."""
    block.query(head, 0, reads(*before(sizes)), logit / (sizes[0] * SIGN_SQUARE))


def keep_latest(block, shape):
    """Block 1."""
    block = Writer(block, shape, 2.9)
    local_keys(block, 0)
    local_keys(block, 1)
    latest(block, 0, [AT_PERSON], NEAR, 12.5)
    block.write(0, WHO, room("subject").T)
    latest(block, 1, [AT_ANCHOR], NEAR, 9.5)
    block.query(1, AT_ARE, scalar(IN_ANSWER), 100.0)  # lists are long
    block.write(1, BEFORE, room("name").T)
    latest(block, 2, [AT_OBJECT], NEAREST, 4.9)
    block.write(2, WHO, room("object").T)
    latest(block, 3, [AT_TAKE, AT_DROP], NEAR, 9.5)
    block.write(3, VERB, room("kind").T)
    copy_followers(block, 2, SHARP, 48.0)
    copy_followers(block, 3, LONG, 40.0)
    count_facts(block)
    count_listed(block)
    mark_counts(block, [(NAMED, "rank"), (LISTED, "turn")])
    pad(block, 2.2)


def copy_followers(block, kv_head, sizes, eagerness):
    """Induction: what followed the last tokens, more readily in answers. Values leave codes out, which
    later heads read of a token itself."""
    block.clear_kv(kv_head)
    block.key(kv_head, 0, reads(*signs(sizes)))
    block.key(kv_head, 39, flags("begin"))
    copied = room("token", CODE)
    block.value(kv_head, 0, copied)
    block.value(kv_head, COUNTED, flags("begin"))
    head = 2 * kv_head
    block.clear_head(head)
    block.clear_head(head + 1)
    follow(block, head, sizes, 8.0)
    block.constant_query(head, 39, 60.0)
    block.query(head, 39, scalar(IN_ANSWER), -eagerness)
    block.write(head, 0, 1.5 * copied.T)


def count_facts(block):
    """At "is", "are" or "=": how many of them had the same name before."""
    block.query(5, 0, reads(*signs(SHARP)), 8.0 / square(SHARP))
    block.key(2, 38, flags("anchor"))
    block.constant_query(5, 38, 10.0)
    block.constant_query(5, 39, 17.235)
    block.write(5, COUNTED, scalar(NAMED).T)


def count_listed(block):
    """How many commas stand behind a digit since "all"; "all" is one more."""
    block.key(3, 38, flags("comma") + scalar(AFTER_DIGIT) + 2 * flags("all"))
    block.constant_query(7, 38, 12.0)
    block.constant_query(7, 39, 22.28)
    block.write(7, COUNTED, scalar(LISTED).T)


def mark_counts(block, counts):
    """For each (scalar, room): entry n - 1 of the room is 1 where the scalar is about 1 / (1 + n).

    Two hidden units make a step at every threshold; a mark is the difference of two steps."""
    unit, down = 0, block.block.down.weight
    for counted, name in counts:
        for mark, threshold in enumerate(THRESHOLDS):
            for sign in (1, -1):
                above = scalar(counted) - (threshold - sign * COUNT_SLACK) * one()
                block.unit(unit, above[0], one()[0], COUNT_SLOPE)
                step = sign / (2 * COUNT_SLOPE * COUNT_SLACK)
                if mark > 0:
                    down[entry(name, mark - 1), unit] += step
                if mark < 4:
                    down[entry(name, mark), unit] -= step
                unit += 1


def pad(block, amount):
    """Keeps the norm at the beginning, and so the keys there, near that of other positions."""
    unit = block.shape.mlp_width - 1
    block.unit(unit, (flags("begin") - BEGIN_SHARE * one())[0], one()[0])
    block.block.down.weight[NORM_FILLER, unit] = amount / (GATE_SLOPE * BEGIN_SHARE)
