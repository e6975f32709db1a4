#include "model/vocabulary.hpp"

#include "model/byte_level.hpp"

#include <optional>
#include <set>

namespace kvtape::model {
namespace {

constexpr std::int64_t most_ids = std::int64_t{1} << 24;
/// Ids may have gaps, but not so many that a small file claims much memory.
constexpr std::size_t most_unused_ids = std::size_t{1} << 16;

std::int32_t read_id(const Json& value, const Fields& fields) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= most_ids)
        fields.refuse("vocab",
                      "has the id " + Fields::shown(value) + ", expected an integer from 0 to " +
                          std::to_string(most_ids - 1));
    return static_cast<std::int32_t>(value.get<std::uint64_t>());
}

/// The byte that `<0x0A>` and the like stand for.
std::optional<char> byte_of_token(const std::string& name) {
    if (name.size() != 6 || !name.starts_with("<0x"))
        return {};
    for (int byte = 0; byte < 256; ++byte)
        if (byte_token(static_cast<unsigned char>(byte)) == name)
            return static_cast<char>(byte);
    return {};
}

std::optional<std::string> bytes_of_name(const std::string& name, Bpe::Alphabet alphabet) {
    if (alphabet == Bpe::Alphabet::bytes)
        return bytes_of_entry(name);
    if (const std::optional<char> byte = byte_of_token(name))
        return std::string(1, *byte);
    AlignedText text(name, 0);
    text.replace("\u2581", " ");
    return text.text();
}

}  // namespace

Vocabulary::Vocabulary(const Fields& model, const AddedTokens& added, Bpe::Alphabet alphabet) {
    std::set<std::string> contents;
    for (const AddedToken& token : added.all())
        contents.insert(token.content);
    const Json* vocab = model.find("vocab");
    if (vocab == nullptr || !vocab->is_object() || vocab->empty())
        model.refuse("vocab", "must be an object with at least one token");
    end_ = vocab->size() + added.all().size() + most_unused_ids;
    for (const auto& [name, value] : vocab->items())
        add_entry(name, read_id(value, model), contents.contains(name), alphabet, model);
    for (const AddedToken& token : added.all())
        add_token(token, model);
}

Vocabulary::Entry& Vocabulary::slot(std::int32_t id, const Fields& model) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= end_)
        model.refuse("vocab", "has the id " + std::to_string(id) + ", far above its size");
    if (index >= entries.size())
        entries.resize(index + 1);
    return entries[index];
}

void Vocabulary::add_entry(const std::string& name,
                           std::int32_t id,
                           bool is_added,
                           Bpe::Alphabet alphabet,
                           const Fields& model) {
    Entry& entry = slot(id, model);
    if (entry.known)
        model.refuse("vocab", "has the id " + std::to_string(id) + " twice");
    std::optional<std::string> bytes = bytes_of_name(name, alphabet);
    // An added token may be listed here too, then in plain text.
    if (is_added)
        bytes = name;
    if (!bytes || bytes->empty())
        model.refuse("vocab",
                     "has the token " + Fields::shown(Json(name)) +
                         ", which is not written in the byte-level alphabet");
    entry = {.bytes = *bytes, .known = true, .special = false};
    names.emplace(name, id);
}

void Vocabulary::add_token(const AddedToken& token, const Fields& model) {
    const auto refuse = [&](const std::string& why) {
        model.refuse("added_tokens",
                     "give " + Fields::shown(Json(token.content)) + " the id " +
                         std::to_string(token.id) + why);
    };
    if (const auto listed = names.find(token.content);
        listed != names.end() && listed->second != token.id)
        refuse(", and vocab gives it " + std::to_string(listed->second));
    Entry& entry = slot(token.id, model);
    if (entry.known && entry.bytes != token.content)
        refuse(", which another token has");
    entry = {.bytes = token.content, .known = true, .special = token.special};
}

}  // namespace kvtape::model
