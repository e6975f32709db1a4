#include "model/normalizer.hpp"

#include "model/fields.hpp"
#include "model/nfc.hpp"

#include <string>

namespace kvtape::model {
namespace {

constexpr int deepest = 8;
/// Bounds what a hostile file can make of a text.
constexpr std::size_t most_steps = 16;
constexpr std::size_t longest_content = 64;
constexpr std::size_t most_growth = 16;

std::string short_text(const Fields& fields, const char* name) {
    std::string text = fields.text(name);
    if (text.empty() || text.size() > longest_content)
        fields.refuse(name, "must have 1 to " + std::to_string(longest_content) + " bytes");
    return text;
}

}  // namespace

Normalizer::Normalizer(const Json& field, std::string_view what) {
    if (!field.is_null())
        add(field, what, 0);
}

void Normalizer::add(const Json& field, std::string_view what, int depth) {
    const Fields piece(field, std::string(what) + ", normalizer");
    const std::string type = piece.text("type");
    if (type == "Sequence") {
        const Json* all = piece.find("normalizers");
        if (all == nullptr || !all->is_array() || depth >= deepest)
            piece.refuse("normalizers", "must be an array, nested less than 8 deep");
        for (const Json& one : *all)
            add(one, what, depth + 1);
        return;
    }
    if (type == "NFC")
        steps_.emplace_back(to_nfc);
    else if (type == "Prepend")
        steps_.emplace_back(
            [prefix = short_text(piece, "prepend")](AlignedText& text) { text.prepend(prefix); });
    else if (type == "Replace") {
        const Json* pattern = piece.find("pattern");
        if (pattern == nullptr || !pattern->is_object() || !pattern->contains("String"))
            piece.refuse("pattern",
                         "is " + Fields::shown(pattern == nullptr ? Json() : *pattern) +
                             ", which kvtape does not know; it knows a String");
        steps_.emplace_back(
            [from = short_text(Fields(*pattern, piece.what() + ", pattern"), "String"),
             to = short_text(piece, "content")](AlignedText& text) { text.replace(from, to); });
    } else
        piece.refuse("type",
                     "is " + Fields::shown(Json(type)) +
                         ", which kvtape does not know; it knows NFC, Prepend, Replace and "
                         "Sequence");
    if (steps_.size() > most_steps)
        piece.refuse("normalizers", "has more than " + std::to_string(most_steps) + " steps");
}

void Normalizer::apply(AlignedText& text) const {
    const std::size_t most = most_growth * (text.text().size() + longest_content);
    for (const auto& step : steps_) {
        step(text);
        if (text.text().size() > most)
            throw format_error("normalising text: the tokenizer makes it more than " +
                               std::to_string(most_growth) +
                               " times as long, which no text of a language is");
    }
}

}  // namespace kvtape::model
