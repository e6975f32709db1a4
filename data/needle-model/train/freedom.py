"""Which weights of a model with hand-written circuits training may change.

The circuits end in block CIRCUIT_BLOCKS - 1; one head of the block after them is written by hand
too. Training leaves all of that as it is and sees only the blocks above, as far as nobody wrote
them: heads without an output, hidden units without an output, and the part of the embeddings that
is random.
"""

import torch

CIRCUIT_BLOCKS = 4


def free_weights(model, embedding):
    """For every weight that may change, by name: 1 where it may and 0 where it may not.

    `embedding` are the entries of the stream whose embeddings may change."""
    free = {"norm.weight": torch.ones_like(model.norm.weight)}
    free["embedding.weight"] = torch.zeros_like(model.embedding.weight)
    free["embedding.weight"][1:, embedding] = 1  # the beginning is where heads rest
    for layer in range(CIRCUIT_BLOCKS, len(model.blocks)):
        for name, mask in free_of_block(model.blocks[layer], model.shape).items():
            free[f"blocks.{layer}.{name}.weight"] = mask
    return free


def free_of_block(block, shape):
    size, group = shape.head_size, shape.query_heads // shape.kv_heads
    columns = block.output.weight.detach().unflatten(1, (shape.query_heads, size))
    heads = (columns == 0).all(2).all(0)
    cached = heads.view(shape.kv_heads, group).all(1)
    units = (block.down.weight.detach() == 0).all(0)
    rows = heads.float().repeat_interleave(size)
    cached_rows = cached.float().repeat_interleave(size)
    free = {
        "query": rows[:, None].expand_as(block.query.weight),
        "output": rows.expand_as(block.output.weight),
        "key": cached_rows[:, None].expand_as(block.key.weight),
        "value": cached_rows[:, None].expand_as(block.value.weight),
        "gate": units.float()[:, None].expand_as(block.gate.weight),
        "up": units.float()[:, None].expand_as(block.up.weight),
        "down": units.float().expand_as(block.down.weight),
        "mlp_norm": torch.ones_like(block.mlp_norm.weight),
    }
    if heads.all():
        free["attention_norm"] = torch.ones_like(block.attention_norm.weight)
    return free
