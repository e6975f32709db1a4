#include "tools/workload/lexicon.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "model/files.hpp"

namespace kvtape::workload {
namespace {

constexpr std::size_t most_bytes = std::size_t{1} << 22;

class Reader {
  public:
    Reader(const Json& root, std::string_view what) : root_(root), what_(what) {}

    std::vector<std::string> words(const char* name) const {
        const Json& list = member(root_, name);
        if (!list.is_array() || list.size() < 2)
            refuse(name, "must be a list of at least two words");
        std::vector<std::string> words;
        for (const Json& word : list)
            words.push_back(text_of(word, name));
        return words;
    }

    std::string pattern(const char* group,
                        const char* name,
                        std::initializer_list<std::string_view> placeholders) const {
        std::string text = text_of(member(member(root_, group), name), name);
        for (const std::string_view placeholder : placeholders) {
            const std::string braced = std::string("{").append(placeholder).append("}");
            if (text.find(braced) == std::string::npos)
                refuse(name, "lacks the placeholder " + braced);
        }
        return text;
    }

    std::string needle(const char* kind,
                       const char* name,
                       std::initializer_list<std::string_view> placeholders) const {
        return Reader(member(root_, "needles"), what_).pattern(kind, name, placeholders);
    }

  private:
    const Json& member(const Json& object, const char* name) const {
        if (!object.is_object() || !object.contains(name))
            refuse(name, "is missing");
        return object.at(name);
    }
    std::string text_of(const Json& value, const char* name) const {
        if (!value.is_string() || value.get_ref<const std::string&>().empty())
            refuse(name, "must hold text that is not empty");
        return value.get<std::string>();
    }
    [[noreturn]] void refuse(const char* name, const std::string& found) const {
        throw format_error("reading " + what_ + ": '" + name + "' " + found);
    }

    const Json& root_;
    std::string what_;
};

}  // namespace

Lexicon Lexicon::load(const std::filesystem::path& lexicon_json) {
    return parse(model::read_text(lexicon_json, most_bytes), lexicon_json.string());
}

Lexicon Lexicon::parse(std::string_view json, std::string_view what) {
    const Json root = parse_json(json, what);
    const Reader read(root, what);
    return {.adjectives = read.words("adjectives"),
            .nouns = read.words("nouns"),
            .people = read.words("people"),
            .places = read.words("places"),
            .objects = read.words("objects"),
            .moves = read.words("moves"),
            .takes = read.words("takes"),
            .drops = read.words("drops"),
            .subjects = read.words("subjects"),
            .verbs = read.words("verbs"),
            .things = read.words("things"),
            .adverbs = read.words("adverbs"),
            .openings = read.words("openings"),
            .facts = read.words("facts"),
            .joins = read.words("joins"),
            .key_fact = read.needle("key", "fact", {"adj", "noun", "value"}),
            .key_question = read.needle("key", "question", {"adj", "noun"}),
            .multivalue_question = read.needle("multivalue", "question", {"adj", "noun"}),
            .passkey_fact = read.needle("passkey", "fact", {"value"}),
            .passkey_question = read.needle("passkey", "question", {}),
            .variable_fact = read.needle("variable", "fact", {"name", "value"}),
            .variable_alias = read.needle("variable", "alias", {"name", "other"}),
            .variable_question = read.needle("variable", "question", {"name"}),
            .where_fact = read.needle("where", "fact", {"person", "move", "place"}),
            .where_question = read.needle("where", "question", {"person"}),
            .object_take = read.needle("object", "take", {"person", "take", "object"}),
            .object_drop = read.needle("object", "drop", {"person", "drop", "object"}),
            .object_question = read.needle("object", "question", {"object"}),
            .question = read.pattern("template", "question", {"question"})};
}

std::string fill(std::string_view pattern,
                 std::initializer_list<std::pair<std::string_view, std::string_view>> values) {
    std::string text;
    for (std::size_t i = 0; i < pattern.size();) {
        bool replaced = false;
        for (const auto& [name, value] : values) {
            if (pattern[i] != '{' || pattern.substr(i + 1, name.size()) != name ||
                pattern.substr(i + 1 + name.size(), 1) != "}")
                continue;
            text += value;
            i += name.size() + 2;
            replaced = true;
            break;
        }
        if (!replaced)
            text += pattern[i++];
    }
    return text;
}

}  // namespace kvtape::workload
