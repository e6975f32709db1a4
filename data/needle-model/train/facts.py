"""Blocks 2 to 4 of the hand-written circuits: facts are found.

Places: a person is where they went last, an object where it was dropped, or where its holder is. The
keys are the places that people move to, with the latest person and how often they were mentioned: the
last move is the one with most mentions. Block 2 answers for people and learns where dropped objects
lie, block 3 goes from an object to its holder, block 4 from the holder to a place.

Numbers: their digits have the name before the latest "is", "are" or "=" and the place within the
number. Block 2 finds the name that an alias stands for and which fact of one name it is; block 3 copies
the digit with that name at this place.
"""

from torch import cat

from context import AT_ANCHOR, AT_BEGIN, AT_PERSON, ELSEWHERE, NEAR, WHO, kernel, latest, local_keys, pad
from stream import (
    AFTER_ANCHOR,
    AFTER_IN,
    AFTER_TO,
    ALIAS,
    CODE,
    CODE_SQUARE,
    DROPPED,
    ENTITIES,
    IN_ANSWER,
    IN_QUESTION,
    NAME,
    SHORT_NAME,
    TAKEN,
    VALUE,
    entry,
    flags,
    only,
    reads,
    room,
    scalar,
    signs,
    within_name,
)
from writer import Writer

REST = 200.0  # taken from a count of mentions, 1 at the beginning
SUBJECT, MENTIONED, PLACE, MOVED, RESTING = 0, 24, 25, 26, 27  # key channels of people_keys
STOP, NOWHERE, SAID = 36, 37, 38  # key channels behind a name
QUESTION_TYPE = 39
SINCE, RANK, FOUND_NOTHING, IS_DIGIT, OWN_ANSWER = 28, 33, 37, 38, 39  # key channels of digits


def people_keys(block, kv_head):
    """Keys of the places that people move to: who moved, how often they had been mentioned."""
    block.clear_kv(kv_head)
    block.key(kv_head, SUBJECT, cat([room("subject"), flags("place"), scalar(AFTER_TO), flags("begin")]))
    block.value(kv_head, 0, cat([room("entity"), flags("place")]))


def find_place(block, head, subject, sink=-35.0):
    """Where a person went last."""
    block.clear_head(head)
    block.query(head, SUBJECT, subject, 90.0)
    block.constant_query(head, MENTIONED, -REST)
    block.constant_query(head, PLACE, 40.0)
    block.constant_query(head, MOVED, 40.0)
    block.constant_query(head, RESTING, sink + REST)


def only_in_answers(block, head, resting):
    """Rests at the beginning but after "in the" of an answer."""
    block.constant_query(head, resting, 300.0)
    block.query(head, resting, scalar(AFTER_IN), -150.0)
    block.query(head, resting, scalar(IN_ANSWER), -150.0)


def say_place(block, head, channel):
    """What is found becomes the next word."""
    block.write(head, channel, 10.0 * room("entity").T)
    block.write(head, channel, 4.0 * flags("place").T.expand(-1, ENTITIES))


def find_facts(block, shape):
    """Block 2."""
    block = Writer(block, shape, 8.0)
    people_keys(block, 0)
    person = room("subject", 0, ENTITIES)
    find_place(block, 0, person)
    only_in_answers(block, 0, RESTING)
    say_place(block, 0, 0)
    pad(block, 0.2)
    find_place(block, 1, person, 165.0)
    block.query(1, RESTING, reads(entry("kind", DROPPED)), -200.0)
    block.write(1, 0, room("lying").T)
    find_alias(block)
    # Which of the facts of one name it is.
    local_keys(block, 2)
    block.block.value.weight[block.rows(2)] = 0
    block.value(2, 0, room("rank"))
    latest(block, 4, [AT_ANCHOR], NEAR, 9.5)
    block.write(4, 0, room("rank").T)
    find_holder(block)


def find_alias(block):
    """Head 2: the name that stands before the stop of the sentence that begins with this name. Head 3:
    the words of the question that say what is asked."""
    block.clear_kv(1)
    asked = flags("where") + flags("value") + flags("all")
    asked += 0.5 * flags("special") + 0.5 * scalar(IN_QUESTION)
    block.key(1, 0, cat([room("name"), flags("stop", "begin"), scalar(IN_ANSWER), asked]))
    block.value(1, 0, cat([reads(*signs(NAME)), flags("where", "value", "all", "special")]))
    block.clear_head(3)
    block.constant_query(3, QUESTION_TYPE, 60.0)
    block.constant_query(3, NOWHERE, 45.0)
    block.write(3, sum(NAME), room("types").T)
    block.clear_head(2)
    block.query(2, 0, only(room("name"), within_name(ALIAS)), 40.0 / CODE_SQUARE)
    block.constant_query(2, STOP, 70.0)
    block.constant_query(2, NOWHERE, 70.0 + 40.0)
    block.constant_query(2, SAID, -150.0)
    block.write(2, 0, room("alias").T)


def find_holder(block):
    """At an object that somebody took: the latest person."""
    local_keys(block, 3)
    block.clear_head(6)
    block.distance_query(6, NEAR)
    block.query(6, AT_PERSON, reads(entry("kind", TAKEN)), 40.0)
    block.constant_query(6, ELSEWHERE, -kernel(block.shape, NEAR, 12.5))
    block.constant_query(6, AT_BEGIN, 40.0)
    block.write(6, WHO, room("holder").T)


def find_object(block):
    """Block 3, head 0: the last sentence that took or dropped the object; who holds it, or where it lies."""
    mentioned, stop, resting, verb = 24, 25, 26, 27
    block.clear_kv(0)
    block.key(0, 0, cat([room("object"), flags("stop", "begin")]))
    block.key(0, verb, room("kind"))
    block.value(0, 0, cat([room("holder"), room("lying")]))
    block.clear_head(0)
    block.query(0, 0, room("object", 0, ENTITIES), 90.0)
    block.constant_query(0, mentioned, -REST)
    block.constant_query(0, stop, 40.0)
    block.constant_query(0, resting, -35.0 + REST)
    block.constant_query(0, verb + TAKEN, 40.0)
    block.constant_query(0, verb + DROPPED, 40.0)
    block.write(0, 0, room("holder").T)
    only_in_answers(block, 0, resting)
    say_place(block, 0, ENTITIES)


def digit_keys(block, kv_head):
    """Of a digit: the name of its number, and its place within it. The values are the digits."""
    block.clear_kv(kv_head)
    block.key(kv_head, 0, room("name")[within_name(SHORT_NAME)])
    block.key(kv_head, SINCE, room("since", 0, 5))
    block.key(kv_head, RANK, room("rank"))
    block.key(kv_head, FOUND_NOTHING, cat([flags("begin", "digit"), scalar(IN_ANSWER)]))
    block.value(kv_head, 0, room("token", CODE))


def find_digit(block, head, name, sign_logit, sink, gain):
    """The digit at this place of the number with this name."""
    block.clear_head(head)
    block.query(head, 0, name, sign_logit / CODE_SQUARE)
    block.query(head, SINCE, flags("space"), 100.0)
    block.query(head, SINCE + 1, room("since", 0, 4), 100.0)
    block.constant_query(head, FOUND_NOTHING, sink)
    block.query(head, FOUND_NOTHING, flags("digit"), -80.0)  # within a number
    block.query(head, FOUND_NOTHING, flags("space") + scalar(AFTER_ANCHOR), -40.0)
    block.constant_query(head, IS_DIGIT, 20.0)
    block.constant_query(head, OWN_ANSWER, -120.0)
    block.write(head, 0, gain * room("token", CODE).T)


def find_digits(block):
    """Block 3: of the number of a name (head 3), of a variable (head 6), of what it stands for (head 2).

    A variable has few tokens, and what stands before it differs: signs of two tokens, few of the next."""
    digit_keys(block, 1)
    digit_keys(block, 3)
    name = room("name")[within_name(SHORT_NAME)]
    alias = room("alias")[within_name(SHORT_NAME)]
    third = sum(SHORT_NAME[:2])
    variable = [*range(third + 2), third + SHORT_NAME[2]]
    find_digit(block, 3, name, 32.7, 238.0, 7.0)
    block.query(3, RANK, room("turn"), 25.0)
    find_digit(block, 2, only(alias, variable), 41.0, 285.0, 8.0)
    find_digit(block, 6, only(name, variable), 41.0, 311.0, 8.0)
    is_value = reads(entry("types", VALUE))
    for head, logit in [(2, -60.0), (6, -60.0), (3, 60.0)]:
        block.query(head, FOUND_NOTHING, is_value, logit)


def find_holders_place(block, shape):
    """Block 4: where the holder of the object is."""
    block = Writer(block, shape, 10.0)
    people_keys(block, 0)
    find_place(block, 0, room("holder"))
    only_in_answers(block, 0, RESTING)
    say_place(block, 0, 0)
