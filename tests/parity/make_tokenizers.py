"""Trains a tiny tokenizer with the pipeline of each family that kvtape reads, and writes what Hugging Face
`tokenizers` makes of texts with it: OUTPUT/texts.json, from which tests/model/tokenizer_parity_test.cpp draws
the same 10,000 texts as this script, OUTPUT/NAME.tokenizer.json, and OUTPUT/NAME.json with some results in full
and a hash of the ids and byte ranges of every 100.

`tokenizers` gives ranges of characters; here they become bytes, and a token that covers part of a character
has the whole character as its range.
"""

import argparse
import json
import pathlib

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    processors,
    trainers,
)
from tokenizers import pre_tokenizers as pre

TEXTS, BLOCK, SHOWN = 10_000, 100, 60
MASK = (1 << 64) - 1
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

# What texts are drawn from: characters of these ranges, or these words.
KINDS = [
    {"ranges": ["az"]},
    {"ranges": ["AZ", "az", "  "]},
    {"ranges": ["09"]},
    {"ranges": ["!/", ":@", "[`", "{~"]},
    {"ranges": ["  "]},
    {"ranges": ["\t\r", "  ", "\x85\x85", "\u00a0\u00a0", "\u1680\u1680", "\u2000\u200a", "\u2028\u2029", "\u3000\u3000"]},
    {"ranges": ["\n\n", "\r\r", "  "]},
    {"ranges": ["\x00\x1f", "\x7f\x9f", "\u200b\u200f", "\u202a\u202e", "\u2060\u2064", "\ufeff\ufeff", "\ufff9\ufffd"]},
    {"ranges": ["\u00a1\u00ff", "\u0100\u024f"]},
    {"ranges": ["az", "\u0300\u036f"]},
    {"ranges": ["AZ", "\u00c0\u00d6", "\u0300\u0345", "\u0591\u05bd", "\u064b\u0655", "\u093c\u093c", "\u094d\u094d"]},
    {"ranges": ["\u1e00\u1eff", "\u0300\u0338"]},
    {"ranges": ["\u1f00\u1f15", "\u1f20\u1f45", "\u1f80\u1fb4", "\u0345\u0345", "\u0313\u0314"]},
    {"ranges": ["\u0391\u03a1", "\u03b1\u03c9", "\u0410\u044f"]},
    {"ranges": ["\u4e00\u9fa5"]},
    {"ranges": ["\uf900\ufa0d", "\ufa10\ufa6d", "\U0002f800\U0002fa1d", "\u4e00\u4eff"]},
    {"ranges": ["\u3041\u3096", "\u30a1\u30fa", "\u3099\u309a", "\u3001\u3003"]},
    {"ranges": ["\uac00\ud7a3"]},
    {"ranges": ["\u1100\u1112", "\u1161\u1175", "\u11a7\u11c2", "\uac00\uac20"]},
    {"ranges": ["\u0620\u064a", "\u0660\u0669", "  "]},
    {"ranges": ["\u05d0\u05ea", "\ufb1d\ufb36", "  "]},
    {"ranges": ["\u0904\u0939", "\u093c\u094d", "\u0958\u095f", "\u0966\u096f"]},
    {"ranges": ["\u0e01\u0e30", "\u0e50\u0e59", "\u0f40\u0f47", "\u0f71\u0f83", "\u0f90\u0f97"]},
    {"ranges": ["\U0001f300\U0001f5ff", "\U0001f600\U0001f64f"]},
    {"ranges": ["\U0001f1e6\U0001f1ff", "\U0001f3fb\U0001f3ff", "\u200d\u200d", "\ufe0f\ufe0f", "\u2640\u2642", "\U0001f466\U0001f469"]},
    {"ranges": ["\u2190\u21ff", "\u20a0\u20bf", "\u2200\u22ff", "\u2010\u2027"]},
    {"ranges": ["\u00b2\u00b3", "\u00bc\u00be", "\u2070\u2079", "\u2150\u2188", "\u2460\u249b", "\uff10\uff19"]},
    {"ranges": ["\U0001d400\U0001d454", "\U0001d538\U0001d539", "\U0001d7ce\U0001d7ff", "\U0001d15e\U0001d164", "\U0001d165\U0001d169"]},
    {"ranges": ["\ue000\ue0ff", "\u0378\u0379", "\U000e0001\U000e007f", "\U0010fffe\U0010ffff", "\u2126\u212b", "\u0340\u0344"]},
    {"words": ["the", " the", " special", " magic", " number", " is", ": ", ".\n", "\n\n", " Question", "?", " 48213", " of"]},
    {"words": ["'s", "'T", "'re", "'VE", "'m", "'ll", "'D", "\u2019s", "'\u017f", "don't", " we'Ll"]},
    {"words": ["\u2581", "\u2581\u2581", " \u2581", "<0x0A>", "<0x41>", "\u0120", "\u010a", "<", ">", "<|", "|>"]},
    {"words": ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]},
    {"words": ["<|end|>", "<|user|>", "<tool>", " <tool>", "[INST]", "fox den", "fox", "<mask>", " <mask> ", "caf\u00e9", "cafe\u0301"]},
    {"words": ["int main() {\n    return 0;\n}\n", "#include <vector>", "https://example.org/a?b=c&d=%20", "x += 1;", "\t\tfor"]},
    {"words": ["\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "e\u0301\u0323", "\u1e69", "q\u0307\u0323"]},
]  # fmt: skip
FIXED = ["", " ", "  ", "\n", "a", "hello world", " hello  world ", "<s>", "<s>a</s>b", "<s> a", "\u2581a \u2581", "12345 1 22", "a" * 90, " " * 40]


class Draw:
    """SplitMix64, a generator that both sides write in three lines."""

    def __init__(self, seed):
        self.state = seed

    def below(self, count):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        value = self.state
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
        value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
        return ((value ^ value >> 31) >> 32) % count


def pools():
    """Each kind as the list of what it may give."""
    drawn = []
    for kind in KINDS:
        ranges = [(ord(first), ord(last)) for first, last in kind.get("ranges", [])]
        drawn.append({"words": kind["words"]} if "words" in kind else {"ranges": ranges})
    return drawn


def character(ranges, draw):
    index = draw.below(sum(last - first + 1 for first, last in ranges))
    for first, last in ranges:
        if index <= last - first:
            return chr(first + index)
        index -= last - first + 1


def text(kinds, seed):
    draw, pieces = Draw(seed), []
    for _ in range(1 + draw.below(5)):
        kind = kinds[draw.below(len(kinds))]
        for _ in range(1 + draw.below(6)):
            if "words" in kind:
                pieces.append(kind["words"][draw.below(len(kind["words"]))])
            else:
                pieces.append(character(kind["ranges"], draw))
    return "".join(pieces)


def encoded(tokenizer, text):
    encoding = tokenizer.encode(text, add_special_tokens=False)
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode()))
    return encoding.ids, [starts[b] for b, _ in encoding.offsets], [starts[e] for _, e in encoding.offsets]


def digest(value, numbers):
    for number in numbers:
        value = (value ^ number) * 0x100000001B3 & MASK
    return value


def byte_level(use_regex, prefix=False):
    return pre.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


def split(pattern):
    return pre.Sequence([pre.Split(Regex(pattern), behavior="isolated"), byte_level(False)])


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def around(tokenizer, before, behind=()):
    names = [*before, *behind]
    return processors.TemplateProcessing(
        single=" ".join([*before, "$A", *behind]),
        pair="$A $B",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names],
    )


def trained_on_bytes(pre_tokenizer, corpus, names, normalizer=None, added=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre.ByteLevel.alphabet(),
        special_tokens=[special(name) for name in names],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens(list(added))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def trained_with_fallback(corpus, normalizer, pre_tokenizer, names=(), added=()):
    """Trained on words, as SentencePiece does; then the pipeline is the family's."""
    bytes_too = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        limit_alphabet=90,
        special_tokens=["<unk>", "<s>", "</s>", *bytes_too],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = []
    description["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(description))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.add_special_tokens([special(name) for name in ["<unk>", "<s>", "</s>", *names]])
    tokenizer.add_tokens(list(added))
    tokenizer.post_processor = around(tokenizer, ["<s>"])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def gpt2(corpus):
    tokenizer = trained_on_bytes(byte_level(True), corpus, ["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def prefixed(corpus):
    tokenizer = trained_on_bytes(byte_level(True, prefix=True), corpus, ["<s>", "</s>", "<mask>"])
    tokenizer.post_processor = around(tokenizer, ["<s>"], ["</s>"])
    return tokenizer


def llama3(corpus):
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    tokenizer = trained_on_bytes(split(LLAMA3), corpus, names)
    description = json.loads(tokenizer.to_str())
    description["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), around(tokenizer, ["<|begin_of_text|>"])]
    )
    return tokenizer


def qwen2(corpus):
    tokenizer = trained_on_bytes(
        split(QWEN2),
        corpus,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        normalizers.NFC(),
        [AddedToken("<tool>", normalized=False)],
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False, use_regex=False)
    return tokenizer


def llama2(corpus):
    normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return trained_with_fallback(corpus, normalizer, None)


def mistral(corpus):
    return trained_with_fallback(corpus, None, pre.Metaspace(prepend_scheme="first", split=False), ["[INST]"])


def words(corpus):
    return trained_with_fallback(corpus, None, pre.Metaspace(prepend_scheme="always", split=True))


def phi3(corpus):
    normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    added = [special(name, rstrip=True) for name in ["<|end|>", "<|user|>", "<|endoftext|>"]]
    return trained_with_fallback(corpus, normalizer, None, added=added)


def flags(corpus):
    """Every flag of an added token, with both ways of looking for it."""
    added = [
        special("<mask>", lstrip=True),
        special("<|end|>", lstrip=True, rstrip=True),
        AddedToken("<tool>", rstrip=True, normalized=False),
        AddedToken("fox den", single_word=True, normalized=True),
        AddedToken("fox", single_word=True, normalized=False),
        AddedToken("caf\u00e9", lstrip=True, normalized=True),
        AddedToken("is", single_word=True, lstrip=True, normalized=True),
        AddedToken("<|e", normalized=False),
    ]
    return trained_on_bytes(split(QWEN2), corpus, ["<s>"], normalizers.NFC(), added)


FAMILIES = [gpt2, prefixed, llama3, qwen2, llama2, mistral, words, phi3, flags]


def as_file(tokenizer, old_merges):
    description = json.loads(tokenizer.to_str())
    if old_merges:
        description["model"]["merges"] = [" ".join(merge) for merge in description["model"]["merges"]]
    return json.dumps(description, ensure_ascii=False, separators=(",", ":")) + "\n"


def results(tokenizer, texts):
    shown = []
    for text in FIXED + texts[: SHOWN - len(FIXED)]:
        ids, begins, ends = encoded(tokenizer, text)
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        shown.append({"text": text, "ids": ids, "begins": begins, "ends": ends, "decoded": decoded})
    hashes = []
    for first in range(0, TEXTS, BLOCK):
        value = 0xCBF29CE484222325
        for text in texts[first : first + BLOCK]:
            for numbers in encoded(tokenizer, text):
                value = digest(value, [len(numbers), *numbers])
        hashes.append(f"{value:016x}")
    return {"template": tokenizer.encode("hello").ids, "cases": shown, "hashes": hashes}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("output", type=pathlib.Path)
    folder = options.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    kinds = pools()
    texts = [text(kinds, seed) for seed in range(TEXTS)]
    about = {"texts": TEXTS, "block": BLOCK, "kinds": kinds, "tokenizers": [make.__name__ for make in FAMILIES]}
    (folder / "texts.json").write_text(json.dumps(about, separators=(",", ":")) + "\n")
    corpus = [text(kinds, seed) for seed in range(TEXTS, TEXTS + 300)]
    corpus += ["The special magic number for the amber fox is 48213. What is the number for the fox den?"] * 30
    for make in FAMILIES:
        name = make.__name__
        description = as_file(make(corpus), old_merges=name in ("gpt2", "llama2"))
        (folder / f"{name}.tokenizer.json").write_text(description)
        found = results(Tokenizer.from_str(description), texts)
        (folder / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
