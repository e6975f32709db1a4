#pragma once

#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvtape::workload {

/// The words and sentence templates of the documents' world, from `lexicon.json`.
struct Lexicon {
    std::vector<std::string> adjectives, nouns, people, places, objects, moves, takes, drops;
    std::vector<std::string> subjects, verbs, things, adverbs, openings, facts, joins;

    std::string key_fact, key_question;
    std::string multivalue_question;
    std::string passkey_fact, passkey_question;
    std::string variable_fact, variable_alias, variable_question;
    std::string where_fact, where_question;
    std::string object_take, object_drop, object_question;
    std::string question;  ///< what follows the context; holds `{question}`

    /// Missing, empty or mistyped entries and templates without their placeholders are format
    /// errors.
    static Lexicon load(const std::filesystem::path& lexicon_json);
    static Lexicon parse(std::string_view json, std::string_view what);
};

/// `pattern` with every `{name}` replaced by its value. A placeholder without a value stays.
std::string fill(std::string_view pattern,
                 std::initializer_list<std::pair<std::string_view, std::string_view>> values);

}  // namespace kvtape::workload
