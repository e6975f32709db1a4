"""Embeddings of the model with hand-written circuits: flags, entities and codes of tokens.

Of every token's embedding, CODE entries are signs (+ and -) that heads match; the codes of tokens
that stand near facts are drawn to differ from one another as much as possible.
"""

import math

import torch

from sentences import LEXICON
from stream import (
    CODE,
    CODE_SQUARE,
    CONSTANT,
    NORM_FILLER,
    ROOM,
    SQUARE,
    WIDTH,
    entry,
    flag,
)

MARKS = [
    ("Ġto", "to"), (".", "stop"), (".ĊĊ", "stop"), (",", "comma"), ("Ġ", "space"), ("=", "anchor"),
    ("Ġ=", "anchor"), ("Ġis", "anchor"), ("Ġare", "anchor"), ("Ġare", "are"), (":", "colon"),
    ("Question", "question"), ("Ġall", "all"), ("Answer", "answer"), ("ĠWhere", "where"),
    ("Ġvalue", "value"), ("Ġspecial", "special"), ("?Ċ", "end of question"), ("Ġin", "in"),
    ("ĠThe", "The"), ("Ġpass", "pass"),
]
SAME_CODE = [("ĠThe", "Ġthe"), ("AR", "ĠVAR")]  # the first words of a text have no blank: V AR
DRAWS = 400  # codes to choose from for a token that matters
EARLY_SIGNS, EARLY_WEIGHT, ALIKE = 6, 1.5, 6.0  # the first signs count more: of old tokens only they are kept
LEAST_FREE = 0.2
FIRST_NAME = 0.92  # less than 1, so that answers say the name with its blank


def id_of(tokenizer, text):
    found = tokenizer.token_to_id(text)
    assert found is not None, text
    return found


def flagged_tokens(tokenizer):
    """[(token id, flag, entity or None)] of every token that has a flag. Of a word of several tokens
    it is the last that has it."""
    def last_piece(word):
        return tokenizer.encode(" " + word).ids[-1]

    marks = [(0, "begin", None)]
    for name, words in [("person", "people"), ("place", "places"), ("object", "objects")]:
        marks += [(last_piece(word), name, index) for index, word in enumerate(LEXICON[words])]
    for name, words in [("take", LEXICON["takes"]), ("drop", LEXICON["drops"])]:
        marks += [(last_piece(word), name, None) for word in words]
    marks += [(id_of(tokenizer, digit), "digit", None) for digit in "0123456789"]
    for text, name in MARKS:
        if tokenizer.token_to_id(text) is not None:
            marks.append((tokenizer.token_to_id(text), name, None))
    return marks


def first_names(tokenizer):
    """[(token id, person)] of names that a text begins with, without a blank."""
    pieces = [tokenizer.encode(word).ids[-1] for word in LEXICON["people"]]
    return [(piece, person) for person, piece in enumerate(pieces)
            if len(tokenizer.id_to_token(piece)) > 1]


def tokens_that_matter(tokenizer):
    """Digits, and the tokens of templates and names."""
    texts = [text for templates in LEXICON["needles"].values() for text in templates.values()]
    texts += [LEXICON["template"]["question"], " : ."]
    texts += [" " + word.upper() for word in LEXICON["adjectives"]]
    texts += [" " + word for name in ("adjectives", "nouns", "objects") for word in LEXICON[name]]
    ids = [id_of(tokenizer, digit) for digit in "0123456789"]
    for text in texts:
        ids += tokenizer.encode(text).ids + tokenizer.encode(" " + text).ids
    return list(dict.fromkeys(ids))


def sign_codes(count, tokenizer, generator):
    """Signs [count, CODE]."""
    codes = torch.randint(0, 2, (count, CODE), generator=generator) * 2.0 - 1
    matter = tokens_that_matter(tokenizer)
    for place, token in enumerate(matter):
        drawn = torch.randint(0, 2, (DRAWS, CODE), generator=generator) * 2.0 - 1
        known = codes[matter[:place]]
        if place:
            early = drawn[:, :EARLY_SIGNS] @ known[:, :EARLY_SIGNS].T
            alike = drawn @ known.T + EARLY_WEIGHT * early
            codes[token] = drawn[(alike / ALIKE).exp().sum(1).argmin()]
    for text, same in SAME_CODE:
        codes[id_of(tokenizer, text)] = codes[id_of(tokenizer, same)]
    return codes


def embeddings(count, tokenizer, generator):
    """[count, WIDTH]. Heads that find nothing read the beginning, so its token room is empty."""
    weight = torch.zeros(count, WIDTH)
    weight[:, 0] = CONSTANT
    for token, name, entity in flagged_tokens(tokenizer):
        weight[token, flag(name)] = 1
        if entity is not None:
            weight[token, entry("entity", entity)] = 1
    for token, person in first_names(tokenizer):
        weight[token, flag("person")] = 1
        weight[token, entry("entity", person)] = FIRST_NAME
    free = SQUARE - weight[:, 1:].square().sum(1, keepdim=True)
    code = sign_codes(count, tokenizer, generator) * math.sqrt(CODE_SQUARE / CODE)
    size = ROOM["token"].stop - ROOM["token"].start
    random = torch.randn(count, size - CODE, generator=generator)
    random *= (free - CODE_SQUARE).clamp(min=LEAST_FREE).sqrt() / random.norm(dim=1, keepdim=True)
    weight[:, ROOM["token"]] = torch.cat([code, random], 1)
    weight[0, ROOM["token"]] = 0
    weight[0, NORM_FILLER] = math.sqrt(SQUARE - 1)
    return weight
