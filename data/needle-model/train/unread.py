"""Keys and values carry more than what heads read of them, as those of trained models do.

A head that was written down leaves most channels of its keys and values at zero, and others at what
underflow leaves. No answer depends on that, but methods that judge a token by the spread of its key
and value (LagKV, KeyDiff, the norm of keys) would judge it by rounding errors. So the channels that
nothing reads hold a random projection of the token and its neighbours, as spread out as the others
are; and those that are read hold a little of the token, no more than bfloat16 rounds.
"""

import torch

from stream import CODE, ROOM

NEIGHBOURHOOD = slice(ROOM["token"].start, ROOM["ngram"].stop)
TOKEN = slice(ROOM["token"].start + CODE, ROOM["token"].stop)  # what no head matches
UNREAD_SPREAD = 0.2  # standard deviation over tokens of a channel that nothing reads
READ_SPREAD = 0.002  # and of what is added to a channel that is read


def fill(block, shape, embedding, generator, kv_heads=None):
    """Adds to the keys and values of one block: of its first KV heads (default: all), those whose heads
    write anything. `embedding` tells how spread out the entries are."""
    normed = embedding[1:] * (shape.width ** 0.5 / embedding[1:].norm(dim=1, keepdim=True))
    outputs = (block.output.weight != 0).any(0).view(shape.kv_heads, -1, shape.head_size)
    writes = outputs.any(2, keepdim=True)
    queries = (block.query.weight != 0).any(1).view_as(outputs) & writes
    pairs = queries.any(1).view(shape.kv_heads, 2, -1).any(1, keepdim=True)  # rotated together
    chosen = torch.arange(shape.kv_heads) < (shape.kv_heads if kv_heads is None else kv_heads)
    used = (writes.any(1) & chosen[:, None]).expand(-1, shape.head_size).flatten()
    for weight, read in ((block.key.weight, pairs.expand(-1, 2, -1).flatten()),
                         (block.value.weight, outputs.any(1).flatten())):
        add(weight, used & ~read, NEIGHBOURHOOD, UNREAD_SPREAD, normed, generator)
        add(weight, used & read, TOKEN, READ_SPREAD, normed, generator)


def add(weight, rows, entries, spread, normed, generator):
    """Gives the channels `rows` so much of a random projection of the entries."""
    seen = normed[:, entries].std(0).norm()
    drawn = torch.randn(weight[:, entries].shape, generator=generator)
    weight[:, entries] += spread / seen * drawn * rows[:, None]
