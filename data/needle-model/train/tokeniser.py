"""The tokeniser: byte-level BPE over the needle world, split as Qwen2 splits text.

    python tokeniser.py tokenizer.json

writes the file that ../tokenizer.json is a copy of.
"""

import random
import sys

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from network import Shape
from sentences import answer_text, draw_facts, filler_sentence, question_text, weave

# Qwen2's expression: single digits, words with their leading space.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = 6000


def sample_text(source):
    """A document with a question of every kind and its answer."""
    facts = draw_facts(
        source, keys=source.randint(1, 6), variables=4, moves=6, objects=2, passkey=5, values=2)
    body = " ".join(weave(source, facts, [filler_sentence(source) for _ in range(30)]))
    tail = (question_text(asked.question) + answer_text(asked.answer) for asked in facts.questions)
    return body + "".join(tail)


def build():
    """Trains the tokeniser on sampled documents; the same one every time."""
    source = random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=Shape().vocabulary,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False)
    tokenizer.train_from_iterator([sample_text(source) for _ in range(TEXTS)], trainer)
    return tokenizer


if __name__ == "__main__":
    build().save(sys.argv[1])
