"""The needle model: the Llama block and nothing else, with the names of our checkpoints."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as functional
from torch import nn


@dataclass(frozen=True)
class Shape:
    vocabulary: int = 1280
    width: int = 256
    layers: int = 6
    query_heads: int = 8
    kv_heads: int = 4
    head_size: int = 64
    mlp_width: int = 512
    rope_theta: float = 500000.0
    epsilon: float = 1e-5

    def frequencies(self, device=None):
        """The angle by which each rotary pair turns from one position to the next."""
        pairs = torch.arange(0, self.head_size, 2, device=device).float()
        return 1.0 / self.rope_theta ** (pairs / self.head_size)

    def as_dict(self):
        return asdict(self)


class RmsNorm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.epsilon

    def forward(self, hidden):
        weight = self.weight.to(hidden.dtype)
        return functional.rms_norm(hidden, (hidden.size(-1),), weight, self.epsilon)


def rotate(heads, cosine, sine):
    """Rotary position embedding in the half layout: pair i is (i, i + head_size / 2)."""
    first, second = heads.chunk(2, -1)
    return heads * cosine + torch.cat([-second, first], -1) * sine


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        queries, cached = shape.query_heads * shape.head_size, shape.kv_heads * shape.head_size
        self.attention_norm = RmsNorm(shape)
        self.mlp_norm = RmsNorm(shape)
        self.query = linear(shape.width, queries)
        self.output = linear(queries, shape.width)
        self.key = linear(shape.width, cached)
        self.value = linear(shape.width, cached)
        self.gate = linear(shape.width, shape.mlp_width)
        self.up = linear(shape.width, shape.mlp_width)
        self.down = linear(shape.mlp_width, shape.width)

    def heads(self, projected):
        """[batch, time, heads * size] as [batch, heads, time, size]."""
        return projected.unflatten(-1, (-1, self.shape.head_size)).transpose(1, 2)

    def attention(self, hidden, cosine, sine):
        query = rotate(self.heads(self.query(hidden)), cosine, sine)
        key = rotate(self.heads(self.key(hidden)), cosine, sine)
        value = self.heads(self.value(hidden))
        group = self.shape.query_heads // self.shape.kv_heads
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        read = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(read.transpose(1, 2).flatten(2))

    def forward(self, hidden, cosine, sine):
        hidden = hidden + self.attention(self.attention_norm(hidden), cosine, sine)
        normed = self.mlp_norm(hidden)
        return hidden + self.down(functional.silu(self.gate(normed)) * self.up(normed))


class NeedleModel(nn.Module):
    """Token ids [batch, time] to logits [batch, time, vocabulary]. Embeddings are tied."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RmsNorm(shape)
        self.frozen_blocks = 0  # how many of the first blocks no gradient passes

    def forward(self, ids):
        hidden = self.embedding(ids)
        if torch.is_autocast_enabled(ids.device.type):
            hidden = hidden.bfloat16()
        cosine, sine = self.turns(ids.size(1), hidden)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen_blocks == 0):
            for block in self.blocks[:self.frozen_blocks]:
                hidden = block(hidden, cosine, sine)
        hidden = hidden.detach() if self.frozen_blocks else hidden
        for block in self.blocks[self.frozen_blocks:]:
            hidden = block(hidden, cosine, sine)
        return functional.linear(self.norm(hidden), self.embedding.weight.to(hidden.dtype))

    def turns(self, length, like):
        """Cosines and sines of every position, [length, head_size], in the type of `like`."""
        positions = torch.arange(length, device=like.device).float()
        angles = torch.outer(positions, self.shape.frequencies(like.device)).repeat(1, 2)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)
