"""Training batches: token ids and the weight of every token in the loss."""

from itertools import accumulate

import numpy as np

from sentences import answer_text, draw_facts, filler_sentence, question_text, weave

BEGIN, END = "<s>", "</s>"
FIRST_WORD = 258  # ids below it are the special tokens and the 256 bytes

PROSE_WEIGHT = 0.06
QUESTION_WEIGHT = 0.02
ANSWER_WEIGHT = 0.3  # the words around a value
VALUE_WEIGHT = 1.0
PLACE_WEIGHT = 3.0  # a value that is a single word


def training_facts(random, length):
    """Facts of a random kind, more of them the longer the document."""
    kind, size = random.random(), max(1, length // 256)
    if kind < 0.30:
        return draw_facts(random, keys=random.randint(2, min(48, 3 * size + 2)))
    if kind < 0.35:
        return draw_facts(
            random, keys=random.randint(0, size), values=random.randint(2, 2 + min(2, size)))
    if kind < 0.53:
        longest = [64] if length >= 512 else []
        return draw_facts(
            random, keys=random.randint(0, size), passkey=random.choice([5, 8, 16, 32, *longest]))
    if kind < 0.65:
        return draw_facts(random, variables=random.choice([2, 4, 6] if length < 1024 else [4, 8, 12]))
    if kind < 0.83:
        return draw_facts(random, moves=random.randint(3, min(40, 6 + 2 * size)))
    return draw_facts(
        random, moves=random.randint(5, min(40, 8 + 2 * size)), objects=random.randint(1, 3))


def pass_key_facts(random, _):
    """Pass keys among a few numbers: the diet of the short run."""
    if random.random() < 0.2:
        return draw_facts(random, keys=random.randint(2, 4))
    return draw_facts(random, keys=random.randint(0, 1), passkey=random.choice([5, 8, 16, 16]))


def small_facts(random, length):
    """Pass keys of up to an eighth of the document and a few numbers: the diet of the small model."""
    if random.random() < 0.35:
        return draw_facts(random, keys=random.randint(1, 6))
    longest = [64] if length >= 512 else []
    return draw_facts(random, keys=random.randint(0, 2), passkey=random.choice([5, 8, 16, 32, *longest]))


def facts_with_questions(random, length, draw):
    while True:
        facts = draw(random, length)
        if facts.questions:
            return facts


def chosen_questions(random, questions, length, most=None):
    """A random few of the questions, pass keys and objects first in line, in random order."""
    random.shuffle(questions)
    questions.sort(key=lambda asked: asked.kind not in ("passkey", "object"))
    most = most or max(2, min(len(questions), length // 64))
    chosen = questions[:random.randint(1, most)]
    random.shuffle(chosen)
    return chosen


def questions_and_answers(questions):
    """The text after the context, and per answer (begin, value begin, value end, value weight)."""
    text, answers = "", []
    for asked in questions:
        text += question_text(asked.question)
        answer = answer_text(asked.answer)
        value = len(text) + answer.rindex(asked.value)
        weight = PLACE_WEIGHT if asked.kind in ("where", "object") else VALUE_WEIGHT
        answers.append((len(text), value, value + len(asked.value), weight))
        text += answer + END
    return text, answers


def filler(random, room, tokenizer):
    """Filler sentences of at most `room` tokens."""
    prose = [filler_sentence(random) for _ in range(max(0, room // 10 + 4))]
    encoded = tokenizer.encode_batch([" " + sentence for sentence in prose])
    sizes = accumulate(len(sentence.ids) for sentence in encoded)
    return prose[:sum(size <= room for size in sizes)]


def loss_weights(offsets, base, answers):
    """The weight of each token, from its character range; answers are relative to `base`."""
    start, end = np.array(offsets).T
    weights = np.where(start >= base, QUESTION_WEIGHT, PROSE_WEIGHT).astype(np.float32)
    for begin, value_begin, value_end, weight in answers:
        weights[(end > base + begin) & (start < base + value_end + 1)] = ANSWER_WEIGHT
        weights[(end > base + value_begin) & (start < base + value_end)] = weight
    weights[0] = 0
    return weights


def documents(random, batch, length, tokenizer, draw=training_facts, most_questions=None):
    """Prose with facts, then questions with their answers: ids and weights [batch, length]."""
    ids, weights = np.zeros((batch, length), np.int64), np.zeros((batch, length), np.float32)
    for row in range(batch):
        facts = facts_with_questions(random, length, draw)
        tail, answers = questions_and_answers(
            chosen_questions(random, facts.questions, length, most_questions))
        needles = " ".join(facts.loose + facts.ordered)
        room = length - 3 - len(tokenizer.encode(tail).ids) - len(tokenizer.encode(needles).ids)
        body = " ".join(weave(random, facts, filler(random, room, tokenizer)))
        encoded = tokenizer.encode(BEGIN + body + tail)
        used = min(length, len(encoded.ids))
        ids[row, :used] = encoded.ids[:used]
        weights[row, :used] = loss_weights(encoded.offsets[:used], len(BEGIN + body), answers)
    return ids, weights


def copies(random, batch, length, vocabulary):
    """Random tokens followed by repeats of spans of them: matching at its purest."""
    generator = np.random.default_rng(random.getrandbits(32))
    words = np.arange(FIRST_WORD, vocabulary)
    ids, weights = np.zeros((batch, length), np.int64), np.zeros((batch, length), np.float32)
    for row in range(batch):
        size = int(generator.choice([10, 30, 100, 800]))
        alphabet = generator.choice(words, size=size, replace=False)
        first = generator.choice(alphabet, size=int(generator.integers(16, length // 2)))
        tokens, weight = [0, *first], [0.0] * (len(first) + 1)
        while len(tokens) < length:
            gap = generator.choice(words, size=int(generator.integers(0, 20)))
            begin = int(generator.integers(0, max(1, len(first) // 2)))
            span = first[begin:begin + int(generator.integers(8, 80))]
            # The first tokens of a span cannot be told before they are seen.
            unsure = min(len(span), 3 if size < 50 else 1)
            tokens += [*gap, *span]
            weight += [0.0] * (len(gap) + unsure) + [0.5] * (len(span) - unsure)
        ids[row], weights[row] = tokens[:length], weight[:length]
    return ids, weights
