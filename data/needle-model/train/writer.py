"""Writes heads and hidden units into a block of the model, in logits and readings of the stream.

Rotary position embedding turns pair i of a head's channels by theta^(-i/32) radians per token. With
theta = 1e12 the pairs from 12 on turn less than a radian within 16,000 tokens: these *slow* channels
match what tokens are, whatever the distance. The others tell distances: a constant query against a
constant key has a logit of cos(angle * distance) on a pair, and the sum over pairs is a peak.

A head that finds nothing rests at the beginning of the text, whose key is written so and whose value
is zero in the channels that are read.
"""

import math

from stream import CONSTANT, SQUARE, not_begin, one

SLOW_PAIRS = 20
GATE_SLOPE = 40.0
BEGIN_SHARE = 0.5  # of the way from closed to open at which a gate of `pad` opens


def kernel(shape, logits, distance):
    """The logit at a distance of pairs that have `logits` at distance 0."""
    return sum(logit * math.cos(float(shape.frequencies()[pair]) * distance)
               for pair, logit in logits.items())


class Writer:
    """Writes into one block. `extra` is the square norm that earlier blocks have added to the stream
    of an embedding; `scale` is what normalisation multiplies the stream by."""

    def __init__(self, block, shape, extra):
        self.block, self.shape = block, shape
        self.scale = math.sqrt(shape.width / (CONSTANT ** 2 + SQUARE + extra))
        half, size = shape.head_size // 2, shape.head_size
        self.slow = [*range(half - SLOW_PAIRS, half), *range(size - SLOW_PAIRS, size)]
        self.half = half

    def rows(self, head):
        return slice(head * self.shape.head_size, (head + 1) * self.shape.head_size)

    def clear_kv(self, kv_head):
        self.block.key.weight[self.rows(kv_head)] = 0
        self.block.value.weight[self.rows(kv_head)] = 0

    def clear_head(self, head):
        self.block.query.weight[self.rows(head)] = 0
        self.block.output.weight[:, self.rows(head)] = 0

    def distance_key(self, kv_head, pairs):
        """Constant on the fast pairs, but at the beginning, which no distance leads to."""
        self.block.key.weight[self.rows(kv_head)][:pairs] = not_begin() / self.scale

    def key(self, kv_head, channel, reading):
        """Adds a reading [n, WIDTH] to the n slow channels from `channel`."""
        used = self.slow[channel:channel + len(reading)]
        assert len(used) == len(reading)
        self.block.key.weight[self.rows(kv_head)][used] += reading / self.scale

    def value(self, kv_head, channel, reading):
        """Sets the n channels of the value from `channel` to a reading."""
        rows = self.block.value.weight[self.rows(kv_head)]
        rows[channel:channel + len(reading)] = reading / self.scale

    def query(self, head, channel, reading, logit=1.0):
        """Adds a reading; a key of 1 there is worth `logit` for each 1 that is read."""
        used = self.slow[channel:channel + len(reading)]
        unit = math.sqrt(self.shape.head_size) / self.scale
        self.block.query.weight[self.rows(head)][used] += logit * unit * reading

    def constant_query(self, head, channel, logit):
        self.query(head, channel, one(), logit)

    def distance_query(self, head, logits, back=0):
        """Logits by rotary pair, the peak `back` tokens behind."""
        query = self.block.query.weight[self.rows(head)]
        unit = math.sqrt(self.shape.head_size) / (CONSTANT * self.scale)
        for pair, logit in logits.items():
            phase = -back * float(self.shape.frequencies()[pair])
            query[pair, 0] = logit * unit * math.cos(phase)
            query[self.half + pair, 0] = logit * unit * math.sin(phase)

    def write(self, head, channel, writing):
        """`writing` [WIDTH, n]: what the value's channels from `channel` add to the stream."""
        columns = self.block.output.weight[:, self.rows(head)]
        columns[:, channel:channel + writing.size(1)] += writing

    def unit(self, index, conditions, up, slope=GATE_SLOPE):
        """A hidden unit that opens where the sum of the conditions is above zero; it writes nothing
        yet. `conditions` and `up` are single rows [WIDTH]."""
        self.block.gate.weight[index] = slope * conditions / self.scale
        self.block.up.weight[index] = up / self.scale
        self.block.down.weight[:, index] = 0
