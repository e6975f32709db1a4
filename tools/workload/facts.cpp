#include "tools/workload/facts.hpp"

#include "core/error.hpp"
#include "tools/workload/moves.hpp"

#include <algorithm>
#include <cctype>

namespace kvtape::workload {
namespace {

constexpr int shortest_number = 5;
constexpr int longest_number = 7;
constexpr int variables = 6;

Facts passkey(const Lexicon& lexicon, int digits, Draw& draw) {
    const std::string value = draw.digits(digits);
    return {.sentences = {fill(lexicon.passkey_fact, {{"value", value}})},
            .ordered = false,
            .question = lexicon.passkey_question,
            .answer = value,
            .support = {0}};
}

Facts multikey(const Lexicon& lexicon, int keys, Draw& draw) {
    const std::size_t nouns = lexicon.nouns.size();
    const std::size_t pairs = lexicon.adjectives.size() * nouns;
    const auto count = static_cast<std::size_t>(keys);
    if (count > pairs)
        throw usage_error("the lexicon has words for " + std::to_string(pairs) + " keys, not " +
                          std::to_string(keys) + "; ask for fewer keys");
    Facts facts;
    std::vector<std::string> values;
    const std::vector<std::size_t> drawn = draw.sample(pairs, count);
    for (const std::size_t pair : drawn) {
        values.push_back(draw.digits(draw.between(shortest_number, longest_number)));
        facts.sentences.push_back(fill(lexicon.key_fact,
                                       {{"adj", lexicon.adjectives[pair / nouns]},
                                        {"noun", lexicon.nouns[pair % nouns]},
                                        {"value", values.back()}}));
    }
    const std::size_t asked = draw.below(count);
    facts.question = fill(lexicon.key_question,
                          {{"adj", lexicon.adjectives[drawn[asked] / nouns]},
                           {"noun", lexicon.nouns[drawn[asked] % nouns]}});
    facts.answer = values[asked];
    facts.support = {asked};
    return facts;
}

Facts multivalue(const Lexicon& lexicon, int values, Draw& draw) {
    const std::string& adjective = draw.choice(lexicon.adjectives);
    const std::string& noun = draw.choice(lexicon.nouns);
    Facts facts{.sentences = {},
                .ordered = true,
                .question = fill(lexicon.multivalue_question, {{"adj", adjective}, {"noun", noun}}),
                .answer = {},
                .support = {}};
    for (int i = 0; i < values; ++i) {
        const std::string value = draw.digits(shortest_number);
        facts.answer += i == 0 ? "" : ", ";
        facts.answer += value;
        facts.support.push_back(facts.sentences.size());
        facts.sentences.push_back(
            fill(lexicon.key_fact, {{"adj", adjective}, {"noun", noun}, {"value", value}}));
    }
    return facts;
}

std::string upper(std::string text) {
    for (char& c : text)
        c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

/// Chains of `hops + 1` names each; the question asks for the last name of one of them.
Facts variable(const Lexicon& lexicon, int hops, Draw& draw) {
    const auto chain = static_cast<std::size_t>(hops) + 1;
    const std::size_t count = std::max(std::size_t{variables}, chain);
    if (count > lexicon.adjectives.size())
        throw usage_error("the lexicon has names for " + std::to_string(lexicon.adjectives.size()) +
                          " variables, not " + std::to_string(count) + "; ask for fewer hops");
    Facts facts;
    facts.ordered = true;
    std::vector<std::string> names, values;
    for (const std::size_t word : draw.sample(lexicon.adjectives.size(), count))
        names.push_back(upper(lexicon.adjectives[word]));
    for (std::size_t i = 0; i < count; ++i) {
        const bool first = i % chain == 0;
        values.push_back(first ? draw.digits(shortest_number) : values.back());
        facts.sentences.push_back(
            first ? fill(lexicon.variable_fact, {{"name", names[i]}, {"value", values[i]}})
                  : fill(lexicon.variable_alias, {{"name", names[i]}, {"other", names[i - 1]}}));
    }
    const std::size_t begin = draw.below(count / chain) * chain;
    for (std::size_t i = begin; i < begin + chain; ++i)
        facts.support.push_back(i);
    facts.question = fill(lexicon.variable_question, {{"name", names[begin + chain - 1]}});
    facts.answer = values[begin];
    return facts;
}

std::string clause(const Lexicon& lexicon, Draw& draw) {
    std::string text = draw.choice(lexicon.subjects);
    text += ' ' + draw.choice(lexicon.verbs);
    return text + ' ' + draw.choice(lexicon.things);
}

/// A remark about the world with numbers and places of its own.
std::string remark(const Lexicon& lexicon, Draw& draw) {
    const std::string& pattern = draw.choice(lexicon.facts);
    const std::string& place = draw.choice(lexicon.places);
    const std::string year = std::to_string(draw.between(1700, 2020));
    const std::string first = std::to_string(draw.between(2, 999));
    const std::string second = std::to_string(draw.between(2, 999));
    constexpr std::string_view count = "{count}";
    const std::size_t cut = std::min(pattern.find(count), pattern.size() - 1) + 1;
    const std::size_t rest = std::min(pattern.size(), cut + count.size() - 1);
    return fill(pattern.substr(0, rest), {{"place", place}, {"year", year}, {"count", first}}) +
           fill(pattern.substr(rest), {{"place", place}, {"year", year}, {"count", second}});
}

}  // namespace

Facts draw_facts(const Lexicon& lexicon, const Task& task, Draw& draw) {
    switch (task.kind) {
        case TaskKind::passkey:
            return passkey(lexicon, task.size, draw);
        case TaskKind::multikey:
            return multikey(lexicon, task.size, draw);
        case TaskKind::multivalue:
            return multivalue(lexicon, task.size, draw);
        case TaskKind::variable:
            return variable(lexicon, task.size, draw);
        case TaskKind::where:
            return draw_where(lexicon, draw);
        case TaskKind::object:
            break;
    }
    return draw_object(lexicon, draw);
}

std::string draw_filler(const Lexicon& lexicon, Draw& draw) {
    const double kind = draw.uniform();
    if (kind < 0.08)
        return remark(lexicon, draw);
    std::string text = clause(lexicon, draw);
    if (kind < 0.5)
        text += ' ' + draw.choice(lexicon.adverbs);
    if (kind > 0.75) {
        text += draw.choice(lexicon.joins) + ' ';
        text += clause(lexicon, draw);
    }
    if (kind > 0.3 && kind < 0.6)
        return draw.choice(lexicon.openings) + ' ' + text + '.';
    text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text + '.';
}

}  // namespace kvtape::workload
