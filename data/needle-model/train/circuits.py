"""Hand-written circuits: a model of six layers that answers before it is trained.

What train.py starts the needle model from. Nothing here is learned: every head and hidden unit of
blocks 0 to 3 that does anything, and one head of block 4, is written down as what it matches, in
logits, and what it copies. The mechanism, file by file:

    stream.py      the rooms of the residual stream
    embeddings.py  kinds of tokens, and codes by which heads tell tokens apart
    writer.py      how a head that matches, or one that looks at a distance, is written down
    context.py     blocks 0 and 1: what stands around a token, what was last, counting
    facts.py       blocks 2 to 4: where people and objects are, the digits of numbers
    answers.py     block 3: the words of the answer
    unread.py      what the channels hold that no head reads

Prose is noise to such a model. Training (freedom.py) leaves the circuits as they are and fits the rest;
`finish` then fills up keys and values.
"""

import torch
from tokenizers import Tokenizer
from torch import nn

from answers import copy_question, write_rules
from context import keep_latest, look_back
from embeddings import embeddings
from export import TOKENIZER_FILE
from facts import find_digits, find_facts, find_holders_place, find_object
from freedom import CIRCUIT_BLOCKS
from stream import WIDTH
from unread import fill, fill_beginning
from writer import Writer

SEED = 2  # of codes
UNREAD_SEED = 21  # of what unread.py draws
FREE_SPREAD = 0.5  # of what is not written down, in units of 1 / sqrt(inputs)
THETA = 1e12


def initialise(model):
    """Sets every weight of a new model of width WIDTH, rounded to what will be exported."""
    assert model.shape.width == WIDTH
    tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and not name.startswith("embedding"):
            nn.init.normal_(weight, std=FREE_SPREAD * weight.size(1) ** -0.5)
    with torch.no_grad():
        for block in model.blocks:
            block.down.weight.zero_()
            block.output.weight.zero_()
        write_circuits(model, tokenizer)
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())


def write_circuits(model, tokenizer):
    embedding, shape = model.embedding.weight, model.shape
    generator = torch.Generator().manual_seed(SEED)
    embedding.copy_(embeddings(len(embedding), tokenizer, generator))
    look_back(model.blocks[0], shape)
    keep_latest(model.blocks[1], shape)
    find_facts(model.blocks[2], shape)
    third = Writer(model.blocks[3], shape, 9.0)
    find_object(third)
    find_digits(third)
    copy_question(third, embedding, tokenizer)
    write_rules(third, embedding, tokenizer)
    find_holders_place(model.blocks[4], shape)


def finish(model):
    """What a trained model still lacks: keys and values of the written heads are filled up."""
    model.cpu()
    generator = torch.Generator().manual_seed(UNREAD_SEED)
    embedding = model.embedding.weight
    with torch.no_grad():
        for add in (fill, fill_beginning):
            for block in model.blocks[:CIRCUIT_BLOCKS]:
                add(block, model.shape, embedding, generator)
            add(model.blocks[CIRCUIT_BLOCKS], model.shape, embedding, generator, kv_heads=1)
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
