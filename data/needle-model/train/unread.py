"""Keys and values carry more than what heads read of them, as those of trained models do.

A head that was written down leaves most channels of its keys and values at zero, and others at what
underflow leaves. No answer depends on that, but methods that judge a token by the spread of its key
and value (LagKV, KeyDiff, the norm of keys) would judge it by rounding errors. So the channels that
nothing reads hold a random projection of the token and its neighbours, as spread out as the others
are; and those that are read hold a little of the token, no more than bfloat16 rounds.

A head that finds nothing reads the beginning of the text, whose value would be zero. There too the
channels that nothing reads hold something, so that what such a head puts out has a size, with which
errors can be compared.
"""

from typing import NamedTuple

import torch

from stream import CODE, ROOM, flag

NEIGHBOURHOOD = slice(ROOM["token"].start, ROOM["ngram"].stop)
TOKEN = slice(ROOM["token"].start + CODE, ROOM["token"].stop)  # what no head matches
UNREAD_SPREAD = 0.2  # standard deviation over tokens of a channel that nothing reads
READ_SPREAD = 0.002  # and of what is added to a channel that is read
BEGIN_SPREAD = 0.5  # over the unread channels of the value of the beginning


class Channels(NamedTuple):
    """Masks of the channels of all KV heads; those of heads that write nothing are in none."""

    read: torch.Tensor
    unread: torch.Tensor


def channels(block, shape, kv_heads=None):
    """(of keys, of values), of the first KV heads (default: all). A key is read where a query meets it
    (rotary embedding mixes the two channels of a pair), a value where an output takes it."""
    outputs = (block.output.weight != 0).any(0).view(shape.kv_heads, -1, shape.head_size)
    writes = outputs.any(2, keepdim=True)
    queries = (block.query.weight != 0).any(1).view_as(outputs) & writes
    pairs = queries.any(1).view(shape.kv_heads, 2, -1).any(1, keepdim=True).expand(-1, 2, -1)
    chosen = torch.arange(shape.kv_heads) < (shape.kv_heads if kv_heads is None else kv_heads)
    used = (writes.any(1) & chosen[:, None]).expand(-1, shape.head_size).flatten()
    return tuple(Channels(used & read, used & ~read) for read in (pairs.flatten(), outputs.any(1).flatten()))


def normed(embedding, shape):
    """Embeddings as normalisation leaves them."""
    return embedding * (shape.width ** 0.5 / embedding.norm(dim=1, keepdim=True))


def fill(block, shape, embedding, generator, kv_heads=None):
    """Adds to the keys and values of one block. `embedding` tells how spread out the entries are."""
    tokens = normed(embedding, shape)[1:]
    for weight, (read, unread) in zip((block.key.weight, block.value.weight), channels(block, shape, kv_heads)):
        add(weight, unread, NEIGHBOURHOOD, UNREAD_SPREAD, tokens, generator)
        add(weight, read, TOKEN, READ_SPREAD, tokens, generator)


def add(weight, rows, entries, spread, tokens, generator):
    """Gives the channels `rows` so much of a random projection of the entries."""
    drawn = torch.randn(weight[:, entries].shape, generator=generator)
    weight[:, entries] += spread / tokens[:, entries].std(0).norm() * drawn * rows[:, None]


def fill_beginning(block, shape, embedding, generator, kv_heads=None):
    """Adds to the value of the beginning, in channels that nothing reads."""
    _, (_, unread) = channels(block, shape, kv_heads)
    begin = flag("begin")
    drawn = torch.randn(len(unread), generator=generator)
    block.value.weight[:, begin] += BEGIN_SPREAD / normed(embedding, shape)[0, begin] * drawn * unread
