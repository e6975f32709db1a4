"""Sentences of the needle world: filler prose, facts hidden in it, and the questions about them.

Every word and template comes from ../lexicon.json, which the C++ workloads read too.
"""

import json
from pathlib import Path
from typing import NamedTuple

LEXICON_FILE = Path(__file__).resolve().parent.parent / "lexicon.json"
LEXICON = json.loads(LEXICON_FILE.read_text())
NEEDLES = LEXICON["needles"]


class Question(NamedTuple):
    """A question, its answer in prose, the value that decides, and the sentences that support it."""

    kind: str
    question: str
    answer: str
    value: str
    support: list


class Facts:
    """Facts of one document. Loose sentences may stand anywhere, ordered ones keep their order."""

    def __init__(self):
        self.loose = []
        self.ordered = []
        self.questions = []

    def ask(self, kind, value, support, words, template=None):
        """Adds a question. `words` fill the lexicon's templates of `template`, by default `kind`."""
        templates = NEEDLES[template or kind]
        answer = templates["answer"].format(**words)
        self.questions.append(
            Question(kind, templates["question"].format(**words), answer, value, support))


def question_text(question):
    """What follows the context: the question and the invitation to answer."""
    return LEXICON["template"]["question"].format(question=question)


def answer_text(answer):
    """What the model is to write."""
    return LEXICON["template"]["answer"].format(answer=answer)


def clause(random):
    subject, verb = random.choice(LEXICON["subjects"]), random.choice(LEXICON["verbs"])
    return f"{subject} {verb} {random.choice(LEXICON['things'])}"


def number_sentence(random):
    """A filler sentence with numbers in it, so that digits alone do not betray a needle."""
    text = random.choice(LEXICON["facts"])
    text = text.replace("{place}", random.choice(LEXICON["places"]))
    text = text.replace("{year}", str(random.randint(1700, 2020)))
    text = text.replace("{count}", str(random.randint(2, 999)), 1)
    return text.replace("{count}", str(random.randint(2, 999)))


def filler_sentence(random):
    kind = random.random()
    if kind < 0.08:
        return number_sentence(random)
    text = clause(random)
    if kind < 0.5:
        text += " " + random.choice(LEXICON["adverbs"])
    if kind > 0.75:
        text += random.choice(LEXICON["joins"]) + " " + clause(random)
    if 0.3 < kind < 0.6:
        return random.choice(LEXICON["openings"]) + " " + text + "."
    return text[0].upper() + text[1:] + "."


def digits(random, count):
    return "".join(random.choice("0123456789") for _ in range(count))


def add_keys(facts, random, count, lengths=(5, 7)):
    """Numbers of `count` different pairs of adjective and noun; one question each."""
    pairs = [(adjective, noun) for adjective in LEXICON["adjectives"] for noun in LEXICON["nouns"]]
    for adjective, noun in random.sample(pairs, count):
        value = digits(random, random.randint(*lengths))
        words = {"adj": adjective, "noun": noun, "value": value}
        sentence = NEEDLES["key"]["fact"].format(**words)
        facts.loose.append(sentence)
        facts.ask("key", value, [sentence], words)


def add_values(facts, random, count):
    """Several numbers of one pair; the question asks for all of them, in order."""
    adjective, noun = random.choice(LEXICON["adjectives"]), random.choice(LEXICON["nouns"])
    values = [digits(random, 5) for _ in range(count)]
    fact = NEEDLES["key"]["fact"]
    sentences = [fact.format(adj=adjective, noun=noun, value=value) for value in values]
    facts.ordered += sentences
    listed = ", ".join(values)
    words = {"adj": adjective, "noun": noun, "values": listed}
    facts.ask("multivalue", listed, sentences, words)


def add_pass_key(facts, random, length):
    value = digits(random, length)
    sentence = NEEDLES["passkey"]["fact"].format(value=value)
    facts.loose.append(sentence)
    facts.ask("passkey", value, [sentence], {"value": value})


def add_variables(facts, random, count, hops):
    """Chains of variables: a value, then `hops` aliases each of the one before.

    The kind of a question carries the number of sentences that support it: variable1, variable2.
    """
    names = random.sample([adjective.upper() for adjective in LEXICON["adjectives"]], count)
    value, support = "", []
    for index, name in enumerate(names):
        if index % (hops + 1) == 0:
            value = digits(random, 5)
            sentence, support = NEEDLES["variable"]["fact"].format(name=name, value=value), []
        else:
            sentence = NEEDLES["variable"]["alias"].format(name=name, other=names[index - 1])
        support = [*support, sentence]
        facts.ordered.append(sentence)
        words = {"name": name, "value": value}
        facts.ask(f"variable{len(support)}", value, support, words, "variable")


class Walk:
    """People who walk from place to place and carry objects about."""

    def __init__(self, random, people, objects):
        self.random = random
        self.people = people
        self.objects = objects
        self.place = {}  # of a person
        self.arrival = {}  # the sentence that brought a person there
        self.holder = {}  # of an object, None once dropped
        self.taking = {}  # the sentence by which the holder took it
        self.lying = {}  # of a dropped object: its place, and the sentences that say so

    def step(self):
        """The next sentence: somebody drops, takes or walks."""
        person, act = self.random.choice(self.people), self.random.random()
        if self.objects and person in self.place and act < 0.35:
            handled = self.drop(person) or self.take(person)
            if handled:
                return handled
        return self.walk(person)

    def drop(self, person):
        carried = [thing for thing in self.objects if self.holder.get(thing) == person]
        if not carried or self.random.random() >= 0.4:
            return None
        thing = self.random.choice(carried)
        drop = self.random.choice(LEXICON["drops"])
        sentence = NEEDLES["object"]["drop"].format(person=person, drop=drop, object=thing)
        self.holder[thing] = None
        self.lying[thing] = (self.place[person], [sentence, self.arrival[person]])
        return sentence

    def take(self, person):
        free = [thing for thing in self.objects if self.is_free(thing, self.place[person])]
        if not free:
            return None
        thing = self.random.choice(free)
        take = self.random.choice(LEXICON["takes"])
        sentence = NEEDLES["object"]["take"].format(person=person, take=take, object=thing)
        self.holder[thing], self.taking[thing] = person, sentence
        return sentence

    def is_free(self, thing, place):
        nobody_holds_it = self.holder.get(thing) is None
        return nobody_holds_it and (thing not in self.lying or self.lying[thing][0] == place)

    def walk(self, person):
        elsewhere = [place for place in LEXICON["places"] if place != self.place.get(person)]
        place = self.random.choice(elsewhere)
        move = self.random.choice(LEXICON["moves"])
        self.place[person] = place
        self.arrival[person] = NEEDLES["where"]["fact"].format(person=person, move=move, place=place)
        return self.arrival[person]

    def whereabouts(self, thing):
        """Where an object is and the sentences that say so, or None if nobody ever took it."""
        person = self.holder.get(thing)
        if person:
            return self.place[person], [self.taking[thing], self.arrival[person]]
        return self.lying.get(thing)


def add_moves(facts, random, moves, objects):
    """People who walk about, and objects they carry; the questions ask where each of them is."""
    count = min(len(LEXICON["people"]), max(2, moves // 3))
    people = random.sample(LEXICON["people"], count)
    walk = Walk(random, people, random.sample(LEXICON["objects"], objects))
    facts.ordered += [walk.step() for _ in range(moves)]
    for person, place in walk.place.items():
        facts.ask("where", place, [walk.arrival[person]], {"person": person, "place": place})
    for thing in walk.objects:
        found = walk.whereabouts(thing)
        if found:
            place, support = found
            facts.ask("object", place, support, {"object": thing, "place": place})


def draw_facts(random, keys=0, values=0, passkey=0, variables=0, hops=1, moves=0, objects=0):
    """Facts of the kinds asked for: numbers of keys, values of one key, digits of the pass key,
    variables in chains of `hops` aliases, moves of people, objects carried about."""
    facts = Facts()
    if keys:
        add_keys(facts, random, keys)
    if values:
        add_values(facts, random, values)
    if passkey:
        add_pass_key(facts, random, passkey)
    if variables:
        add_variables(facts, random, variables, hops)
    if moves:
        add_moves(facts, random, moves, objects)
    return facts


def weave(random, facts, filler):
    """Sentences in reading order: filler and loose facts fall uniformly, ordered facts in order."""
    slots = [(random.random(), sentence) for sentence in filler]
    slots += zip(sorted(random.random() for _ in facts.ordered), facts.ordered)
    slots += [(random.random(), sentence) for sentence in facts.loose]
    slots.sort(key=lambda slot: slot[0])
    return [sentence for _, sentence in slots]
