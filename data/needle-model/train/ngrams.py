"""Structured initialisation with an ordered memory of the last tokens, for models of any shape.

The residual stream starts with rooms: dimension 0 constant, then the token's embedding, then the
n-gram room. Head h of layer 0 looks h + 1 tokens back and writes `turn^(h+1) code` of what stands
there into the n-gram room, where `turn` is one orthogonal matrix. The room at position j is then

    room[j] = sum over h >= 1 of turn^h code(token[j - h])

and the room of a position that would continue the text up to j, token j included, is

    turn (room[j] + code(token[j]))

so that one linear map of the stream is the query that finds what followed an earlier occurrence of
the last tokens in their order. Layer 1 holds that matching head; its values copy what it finds.
"""

import math
from typing import NamedTuple

import torch
from torch import nn


class Rooms(NamedTuple):
    """Where the rooms of the residual stream lie, and how many rotary pairs serve what."""

    token: slice
    ngram: slice
    fast_pairs: int  # tell neighbouring positions apart
    slow_pairs: int  # hardly turn within a context


CONSTANT = 0.15  # entry 0 of every embedding
SPREAD = 0.05  # of the entries of an embedding
LOOK_BACK_PEAK = 64.0  # logit of the position looked back to, above the mean of all others
MATCH_LOGIT = 7.0  # of one token that agrees
COPY = 4.0  # what a match writes, in embeddings


def orthonormal(rows, columns, generator):
    """`rows` orthonormal rows."""
    return torch.linalg.qr(torch.randn(columns, rows, generator=generator))[0].T


def rows_of(head, shape):
    return slice(head * shape.head_size, (head + 1) * shape.head_size)


def slow_channels(shape, pairs):
    """The channels of a head that hardly turn with the position: both halves of the slowest pairs."""
    half = shape.head_size // 2
    return [*range(half - pairs, half), *range(shape.head_size - pairs, shape.head_size)]


def initialise(model, rooms):
    """Sets every weight of a new model. The random part comes from torch's global generator."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and not name.startswith("embedding"):
            nn.init.normal_(weight, std=weight.size(1) ** -0.5)
    with torch.no_grad():
        for block in model.blocks:
            block.down.weight.normal_(0, 0.002)
            block.output.weight.normal_(0, 0.002)
        generator = torch.Generator().manual_seed(1)
        embedding = torch.zeros_like(model.embedding.weight)
        embedding[:, 0] = CONSTANT
        size = rooms.token.stop - rooms.token.start
        embedding[:, rooms.token] = SPREAD * torch.randn(len(embedding), size, generator=generator)
        model.embedding.weight.copy_(embedding)
        width = rooms.ngram.stop - rooms.ngram.start
        code = orthonormal(width, size, generator)
        turn = orthonormal(width, width, generator)
        look_back(model.blocks[0], model.shape, rooms, code, turn)
        match(model.blocks[1], model.shape, rooms, code, turn, generator)


def stream_scale(shape, norm):
    """What RMS normalisation multiplies a stream of this Euclidean norm by."""
    return math.sqrt(shape.width) / norm


def embedding_norm(rooms):
    return math.hypot(CONSTANT, SPREAD * math.sqrt(rooms.token.stop - rooms.token.start))


def look_back(block, shape, rooms, code, turn):
    """Layer 0: a constant query against a constant key on the fast rotary pairs. A phase between
    them puts the peak of attention exactly `head + 1` tokens behind."""
    half, width = shape.head_size // 2, len(turn)
    scale = stream_scale(shape, embedding_norm(rooms))
    peak = LOOK_BACK_PEAK * math.sqrt(shape.head_size) / rooms.fast_pairs
    fast = torch.zeros(half)
    fast[:rooms.fast_pairs] = math.sqrt(peak) / (CONSTANT * scale)
    for kv_head in range(shape.kv_heads):
        rows = rows_of(kv_head, shape)
        block.key.weight[rows], block.value.weight[rows] = 0, 0
        block.key.weight[rows][:half, 0] = fast
        block.value.weight[rows][:width, rooms.token] = code / scale
    power = torch.eye(width)
    for head in range(shape.query_heads):
        rows, phase = rows_of(head, shape), -(head + 1) * shape.frequencies()
        query = block.query.weight[rows]
        query.zero_()
        query[:half, 0], query[half:, 0] = fast * torch.cos(phase), fast * torch.sin(phase)
        power = turn @ power
        block.output.weight[:, rows] = 0
        block.output.weight[rooms.ngram, rows][:, :width] = power


def match(block, shape, rooms, code, turn, generator):
    """Layer 1, the first head of every KV head but the last: finds what followed the last tokens.

    Each looks at the n-gram room through a projection of its own."""
    channels = slow_channels(shape, rooms.slow_pairs)
    size = rooms.token.stop - rooms.token.start
    group = shape.query_heads // shape.kv_heads
    terms = shape.query_heads + 1
    code_norm = SPREAD * math.sqrt(len(turn))
    norm = math.hypot(embedding_norm(rooms), math.sqrt(terms - 1) * code_norm)
    scale = stream_scale(shape, norm)
    for kv_head in range(shape.kv_heads - 1):
        cached, asking = rows_of(kv_head, shape), rows_of(group * kv_head, shape)
        key, query = block.key.weight[cached], block.query.weight[asking]
        value = block.value.weight[cached]
        for weight in (key, query, value):
            weight.zero_()
        seen = orthonormal(min(len(channels), len(turn)), len(turn), generator)
        share = len(seen) / len(turn)  # of a code's square norm that the projection sees
        one = (scale * code_norm) ** 2 * share / math.sqrt(shape.head_size)
        gain = math.sqrt(MATCH_LOGIT / one)
        used = channels[:len(seen)]
        key[used, rooms.ngram] = gain * seen
        query[used, rooms.ngram] = gain * seen @ turn
        query[used, rooms.token] = gain * seen @ turn @ code
        read = orthonormal(min(shape.head_size, size), size, generator)
        value[:len(read), rooms.token] = read / scale
        block.output.weight[:, asking] = 0
        block.output.weight[rooms.token, asking][:, :len(read)] = COPY / (shape.kv_heads - 1) * read.T
