"""Writes what Hugging Face `tokenizers` makes of varied strings: ids and byte ranges.

tokenizers.json holds cases for the needle model's tokenizer and for small ones trained here with other
pre-tokenisers, which it holds too. `tokenizers` gives ranges of characters; here they become bytes, and a
token that covers part of a character has the whole character as its range.
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parents[2] / "data" / "needle-model"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FIXED = [
    "", " ", "  ", "\n", "\r\n", "\t\t x", "a", "hello world", "Hello, WORLD!!", "don't DON'T we'Ll I'd",
    "12345 1 22 333 4444", "x1y22z333", "３４５ ⅣⅤ ½ ²³", "naïve café", "e\u0301a\u0308", "你好，世界。", "日本語テキスト",
    "한국어 문장", "🙂🙃 👩‍👩‍👧‍👦 🇩🇪", "Привет, мир", "مرحبا بالعالم", "שלום", "हिन्दी", "ไทย", "<s>", "</s>", "<s>a</s>b<s><s>",
    "< s>", "<<s>>", "a<s", "\u00a0nbsp\u2003em\u3000wide", "zero\u200bwidth", "\u180emongol", "\x00\x01\x7f", "\x85next\u2028line",
    "ſ 'ſ 'ſtop K", "   leading", "trailing   ", "many     spaces    inside", "line\n\n\nline  \n  end", "a\r\n b\r c\n",
    "tabs\t\tand\nnewlines \t \n", "#include <vector>", "int main() { return 0; }", "https://example.org/a?b=c&d=%20",
    "a" * 300, " " * 200, "ab" * 200, "\n" * 50, "1" * 100, "🙂" * 40, "😀a" * 30, "The special magic number for amber fox is: 48213.",
    "\n\nQuestion: What is the special magic number for amber fox?\nAnswer:", "\U00010348 \U0001D54F", "\ufeffbom", "…—“quoted”",
]
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz ABC'", "0123456789 .,:;", " \t\n\r\u00a0\u2009", "äöüßéñçøå λμΩ", "你好世界日本語한국어",
    "🙂👍🏽🇫🇷\u200d♥", "'sStTrReEvVmMlLdD ", "!?-_()[]{}<>/\\|@#$%^&*+=~`\"",
]


def random_text(draw):
    pieces = []
    for _ in range(draw.randrange(1, 7)):
        alphabet = draw.choice(ALPHABETS)
        pieces.append("".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 14))))
    return draw.choice(["", " "]).join(pieces)


def lexicon_text(lexicon, draw):
    words = lexicon["adjectives"] + lexicon["nouns"] + lexicon["people"]
    return " ".join(draw.choice(words) for _ in range(draw.randrange(3, 20))) + "."


def case(tokenizer, text):
    encoding = tokenizer.encode(text, add_special_tokens=False)
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode()))
    return {
        "text": text,
        "ids": encoding.ids,
        "begins": [starts[begin] for begin, _ in encoding.offsets],
        "ends": [starts[end] for _, end in encoding.offsets],
    }


def trained(pre_tokenizer, corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken("<|end|>", special=True)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken("<|e", special=False), AddedToken("fox den", special=False)])
    return tokenizer


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def main():
    draw = random.Random(11)
    lexicon = json.loads((MODEL / "lexicon.json").read_text())
    corpus = [lexicon_text(lexicon, draw) for _ in range(60)] + FIXED
    texts = FIXED + [lexicon_text(lexicon, draw) for _ in range(40)]
    texts += [random_text(draw) for _ in range(300 - len(texts))]
    needle = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    groups = [{"name": "needle", "cases": [case(needle, text) for text in texts]}]
    sequence = pre_tokenizers.Sequence
    others = {
        "gpt2": byte_level(True),
        "llama3": sequence([split(LLAMA3), byte_level(False)]),
        "digits": sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
        "digit runs": sequence([pre_tokenizers.Digits(individual_digits=False), byte_level(False)]),
    }
    few = FIXED + ["<|end|>", "<|e<|end|>d", "a fox den<|end|>fox denfox"] + texts[100:130]
    for name, pre_tokenizer in others.items():
        tokenizer = trained(pre_tokenizer, corpus)
        description = json.loads(tokenizer.to_str())
        description["model"]["ignore_merges"] = name == "llama3"
        if name == "digits":  # the older form of merges
            description["model"]["merges"] = [" ".join(m) for m in description["model"]["merges"]]
        text = json.dumps(description)
        tokenizer = Tokenizer.from_str(text)
        cases = [case(tokenizer, one) for one in few]
        groups.append({"name": name, "tokenizer": text, "cases": cases})
    lines = ",\n".join(json.dumps(group, separators=(",", ":")) for group in groups)
    (HERE / "tokenizers.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
