#include "model/pre_tokenizer.hpp"

#include "model/byte_level.hpp"
#include "model/fields.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

namespace kvtape::model {
namespace {

/// What `ByteLevel` splits by when it is told to: GPT-2's expression.
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr int deepest = 8;
constexpr std::size_t most_steps = 64;
/// What `Metaspace` writes for a space.
constexpr std::string_view visible_space = "\u2581";

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

/// Cuts before every visible space, which stays with what follows it.
void cut_at_spaces(const AlignedText& piece, std::vector<AlignedText>& pieces) {
    const std::string& text = piece.text();
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find(visible_space, begin + 1), text.size());
        pieces.push_back(piece.slice(begin, end));
        begin = end;
    }
}

void cut(const AlignedText& piece, const Regex& expression, std::vector<AlignedText>& pieces) {
    const std::string& text = piece.text();
    std::size_t done = 0;
    while (done < text.size()) {
        const auto match = expression.find(text, done);
        if (!match)
            break;
        if (match->begin > done)
            pieces.push_back(piece.slice(done, match->begin));
        pieces.push_back(piece.slice(match->begin, match->end));
        done = match->end;
    }
    if (done < text.size())
        pieces.push_back(piece.slice(done, text.size()));
}

/// The piece in the byte-level alphabet.
AlignedText as_alphabet(const AlignedText& piece) {
    AlignedText written;
    const std::string& text = piece.text();
    for (std::size_t i = 0; i < text.size(); ++i)
        written.append(character_of_byte(static_cast<unsigned char>(text[i])),
                       piece.origin(i, i + 1));
    return written;
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& field, std::string_view what) {
    if (!field.is_null())
        add(field, what, 0);
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
                         " after ByteLevel, expected ByteLevel to be the last");
    if (type == "Split")
        add_cut(read_split(piece, where));
    else if (type == "Digits")
        add_cut({piece.flag("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", where});
    else if (type == "Metaspace")
        add_metaspace(field, where);
    else if (type == "ByteLevel")
        add_byte_level(field, where);
    else
        piece.refuse("type",
                     "is " + Fields::shown(Json(type)) +
                         ", which kvtape does not know; it knows Split, Digits, Metaspace, "
                         "ByteLevel and Sequence");
    if (steps_.size() > most_steps)
        piece.refuse("pretokenizers", "has more than 64 steps");
}

void PreTokenizer::add_cut(Regex expression) {
    steps_.emplace_back([expression = std::make_shared<const Regex>(std::move(expression))](
                            AlignedText text, Pieces& pieces) { cut(text, *expression, pieces); });
}

void PreTokenizer::add_metaspace(const Json& field, const std::string& where) {
    const Fields piece(field, where);
    if (const std::string mark = piece.text("replacement"); mark != visible_space)
        piece.refuse("replacement",
                     "is " + Fields::shown(Json(mark)) + ", which kvtape does not know");
    const std::string scheme = piece.text("prepend_scheme", "always");
    if (scheme != "always" && scheme != "first" && scheme != "never")
        piece.refuse("prepend_scheme",
                     "is " + Fields::shown(Json(scheme)) + ", expected always, first or never");
    if (!piece.flag("add_prefix_space", true) && scheme != "never")
        piece.refuse("add_prefix_space", "is false, but prepend_scheme is " + scheme);
    const bool apart = piece.flag("split", true);
    steps_.emplace_back([=](AlignedText text, Pieces& pieces) {
        text.replace(" ", visible_space);
        const bool may = scheme == "always" ||
                         (scheme == "first" && !text.empty() && text.origin(0, 1).begin == 0);
        if (may && !text.text().starts_with(visible_space))
            text.prepend(visible_space);
        if (apart)
            cut_at_spaces(text, pieces);
        else
            pieces.push_back(std::move(text));
    });
}

void PreTokenizer::add_byte_level(const Json& field, const std::string& where) {
    const Fields piece(field, where);
    if (piece.flag("add_prefix_space", true))
        steps_.emplace_back([](AlignedText text, Pieces& pieces) {
            if (!text.text().starts_with(' '))
                text.prepend(" ");
            pieces.push_back(std::move(text));
        });
    if (piece.flag("use_regex", true))
        add_cut({with_unicode_space(gpt2_pattern), where});
    steps_.emplace_back(
        [](const AlignedText& text, Pieces& pieces) { pieces.push_back(as_alphabet(text)); });
    byte_level_ = true;
}

std::vector<AlignedText> PreTokenizer::split(AlignedText text) const {
    Pieces pieces;
    if (!text.empty())
        pieces.push_back(std::move(text));
    for (const auto& step : steps_) {
        Pieces finer;
        for (AlignedText& piece : pieces)
            step(std::move(piece), finer);
        pieces = std::move(finer);
    }
    return pieces;
}

}  // namespace kvtape::model
