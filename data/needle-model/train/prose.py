"""How well models predict the prose of documents: mean loss in nats a token.

    python prose.py DIR...
"""

import random
import sys

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoModelForCausalLM

import batches
from export import TOKENIZER_FILE

DOCUMENTS, LENGTH, SEED = 8, 512, 5


def prose_loss(model, ids, weights):
    """Mean over the tokens of the context, facts among them, not of question and answer."""
    with torch.no_grad():
        logits = model(ids[:, :-1]).logits
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return losses[weights[:, 1:].flatten() == torch.tensor(batches.PROSE_WEIGHT)].mean().item()


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: prose.py DIR...")
    tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
    drawn = batches.documents(random.Random(SEED), DOCUMENTS, LENGTH, tokenizer, most_questions=1)
    ids, weights = map(torch.tensor, drawn)
    for directory in sys.argv[1:]:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        print(f"{directory}: {prose_loss(model, ids, weights):.2f}")


if __name__ == "__main__":
    main()
