#include "model/pre_tokenizer.hpp"

#include "model/fields.hpp"

#include <string>

namespace kvtape::model {
namespace {

/// What `ByteLevel` splits by when it is told to: GPT-2's expression.
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr int deepest = 8;
constexpr std::size_t most_splits = 64;

/// Unicode white space. PCRE2's own class also has U+180E, which is none since Unicode 6.3.
constexpr std::string_view white_space =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

/// Writes out \s, and \S outside of classes, as exactly Unicode's white space.
std::string with_unicode_space(std::string_view pattern) {
    std::string written;
    bool in_class = false;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const char c = pattern[i];
        if (c == '\\' && i + 1 < pattern.size()) {
            const char escaped = pattern[++i];
            if (escaped == 's')
                written +=
                    in_class ? std::string(white_space) : "[" + std::string(white_space) + "]";
            else if (escaped == 'S' && !in_class)
                written += "[^" + std::string(white_space) + "]";
            else
                written += {c, escaped};
            continue;
        }
        if (c == '[')
            in_class = true;
        else if (c == ']')
            in_class = false;
        written += c;
    }
    return written;
}

/// An expression that matches exactly `text`.
std::string literal_pattern(std::string_view text) {
    std::string pattern;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = byte >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                           (c >= 'A' && c <= 'Z');
        if (!plain)
            pattern += '\\';
        pattern += c;
    }
    return pattern;
}

Regex read_split(const Fields& piece, const std::string& what) {
    const std::string behavior = piece.text("behavior");
    if (behavior != "Isolated")
        piece.refuse("behavior",
                     "is " + Fields::shown(Json(behavior)) +
                         ", which kvtape does not know; it "
                         "knows Isolated");
    if (piece.flag("invert", false))
        piece.refuse("invert", "is true, which kvtape does not know");
    const Json* pattern = piece.find("pattern");
    if (pattern == nullptr)
        piece.refuse("pattern", "is missing");
    const Fields kinds(*pattern, what + ", pattern");
    if (kinds.find("Regex") != nullptr)
        return {with_unicode_space(kinds.text("Regex")), what};
    return {literal_pattern(kinds.text("String")), what};
}

void cut(std::string_view piece, const Regex& split, std::vector<std::string_view>& pieces) {
    std::size_t done = 0;
    while (done < piece.size()) {
        const auto match = split.find(piece, done);
        if (!match)
            break;
        if (match->begin > done)
            pieces.push_back(piece.substr(done, match->begin - done));
        pieces.push_back(piece.substr(match->begin, match->end - match->begin));
        done = match->end;
    }
    if (done < piece.size())
        pieces.push_back(piece.substr(done));
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& field, std::string_view what) {
    if (!field.is_null())
        add(field, what, 0);
    if (!byte_level_)
        throw format_error("reading " + std::string(what) +
                           ": the pre_tokenizer has no ByteLevel; kvtape reads byte-level "
                           "tokenizers only");
}

void PreTokenizer::add(const Json& field, std::string_view what, int depth) {
    const std::string where = std::string(what) + ", pre_tokenizer";
    const Fields piece(field, where);
    const std::string type = piece.text("type");
    if (type == "Sequence") {
        const Json* all = piece.find("pretokenizers");
        if (all == nullptr || !all->is_array() || depth >= deepest)
            piece.refuse("pretokenizers", "must be an array, nested less than 8 deep");
        for (const Json& one : *all)
            add(one, what, depth + 1);
        return;
    }
    if (byte_level_)
        piece.refuse("type",
                     "is " + Fields::shown(Json(type)) +
                         " after ByteLevel, expected "
                         "ByteLevel to be the last");
    if (type == "Split")
        splits_.push_back(read_split(piece, where));
    else if (type == "Digits")
        splits_.emplace_back(piece.flag("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)",
                             where);
    else if (type == "ByteLevel") {
        if (piece.flag("add_prefix_space", true))
            piece.refuse("add_prefix_space", "is true, which kvtape does not know");
        if (piece.flag("use_regex", true))
            splits_.emplace_back(with_unicode_space(gpt2_pattern), where);
        byte_level_ = true;
    } else
        piece.refuse("type",
                     "is " + Fields::shown(Json(type)) +
                         ", which kvtape does not know; it knows Split, Digits, ByteLevel and "
                         "Sequence");
    if (splits_.size() > most_splits)
        piece.refuse("pretokenizers", "has more than 64 splits");
}

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
    std::vector<std::string_view> pieces;
    if (!text.empty())
        pieces.push_back(text);
    for (const Regex& split : splits_) {
        std::vector<std::string_view> finer;
        for (const std::string_view piece : pieces)
            cut(piece, split, finer);
        pieces = std::move(finer);
    }
    return pieces;
}

}  // namespace kvtape::model
