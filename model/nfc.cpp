#include "model/nfc.hpp"

#include "model/nfc_data.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <vector>

namespace kvtape::model {
namespace {

/// Below it nothing decomposes, reorders or composes that is not composed already.
constexpr char32_t first_affected = 0x300;

// Hangul syllables are arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t first_syllable = 0xac00, first_lead = 0x1100, first_vowel = 0x1161,
                   before_tails = 0x11a7;
constexpr char32_t leads = 19, vowels = 21, tails = 28;
constexpr char32_t syllables = leads * vowels * tails;

bool is_syllable(char32_t character) {
    return character >= first_syllable && character < first_syllable + syllables;
}

/// One character on its way, and how many more characters it writes than it takes in: 1 for one
/// that is written besides another, -n for one that took in n more.
struct Piece {
    char32_t character = 0;
    int change = 0;
    std::uint8_t combining_class = 0;
};

std::uint8_t class_of(char32_t character) {
    const auto runs = combining_runs();
    const auto run = std::upper_bound(
        runs.begin(), runs.end(), character, [](char32_t value, const CombiningRun& one) {
            return value < one.first;
        });
    if (run == runs.begin() || character > (run - 1)->last)
        return 0;
    return (run - 1)->combining_class;
}

const Decomposition* decomposition_of(char32_t character) {
    const auto all = decompositions();
    const auto found = std::lower_bound(
        all.begin(), all.end(), character, [](const Decomposition& one, char32_t value) {
            return one.character < value;
        });
    return found == all.end() || found->character != character ? nullptr : &*found;
}

/// The composition of a pair of characters, by both.
using Compositions = std::unordered_map<std::uint64_t, char32_t>;

std::uint64_t pair_of(char32_t first, char32_t second) {
    return std::uint64_t{first} << 32 | second;
}

const Compositions& compositions() {
    static const Compositions all = [] {
        Compositions made;
        for (const Decomposition& one : decompositions())
            if (one.composes != 0)
                made.emplace(pair_of(one.first, one.second), one.character);
        return made;
    }();
    return all;
}

std::optional<char32_t> composed(char32_t first, char32_t second) {
    const bool lead = first >= first_lead && first < first_lead + leads;
    if (lead && second >= first_vowel && second < first_vowel + vowels)
        return first_syllable + ((first - first_lead) * vowels + (second - first_vowel)) * tails;
    if (is_syllable(first) && (first - first_syllable) % tails == 0 && second > before_tails &&
        second < before_tails + tails)
        return first + (second - before_tails);
    const auto found = compositions().find(pair_of(first, second));
    return found == compositions().end() ? std::nullopt : std::optional(found->second);
}

/// Appends what `character` decomposes into, all the way.
void decompose(char32_t character, std::vector<char32_t>& parts) {
    if (is_syllable(character)) {
        const char32_t index = character - first_syllable;
        parts.push_back(first_lead + index / (vowels * tails));
        parts.push_back(first_vowel + index / tails % vowels);
        if (index % tails != 0)
            parts.push_back(before_tails + index % tails);
        return;
    }
    const Decomposition* pair = decomposition_of(character);
    if (pair == nullptr) {
        parts.push_back(character);
        return;
    }
    decompose(pair->first, parts);
    if (pair->second != 0)
        decompose(pair->second, parts);
}

/// Normalization form D.
std::vector<Piece> decomposed(std::string_view text) {
    std::vector<Piece> pieces;
    std::vector<char32_t> parts;
    const auto is_starter = [](const Piece& piece) { return piece.combining_class == 0; };
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at).value_or(CodePoint{0, 1});
        at += point.bytes;
        parts.clear();
        decompose(point.value, parts);
        for (const char32_t& part : parts)
            pieces.push_back({part, &part == &parts.front() ? 0 : 1, class_of(part)});
    }
    for (auto begin = pieces.begin(); begin != pieces.end();) {
        begin = std::find_if_not(begin, pieces.end(), is_starter);
        const auto end = std::find_if(begin, pieces.end(), is_starter);
        std::stable_sort(begin, end, [](const Piece& a, const Piece& b) {
            return a.combining_class < b.combining_class;
        });
        begin = end;
    }
    return pieces;
}

/// Puts marks back into the character before them that starts a sequence, where nothing of the same
/// or a higher class stands between.
std::vector<Piece> recomposed(const std::vector<Piece>& pieces) {
    std::vector<Piece> written;
    std::optional<std::size_t> starter;
    std::uint8_t last_class = 0;  ///< of what was written behind the starter; 0: nothing was
    for (const Piece& piece : pieces) {
        if (starter && (last_class == 0 || last_class < piece.combining_class))
            if (const auto both = composed(written[*starter].character, piece.character)) {
                written[*starter].character = *both;
                written[*starter].change += piece.change - 1;
                continue;
            }
        if (piece.combining_class == 0)
            starter = written.size();
        last_class = piece.combining_class;
        written.push_back(piece);
    }
    return written;
}

/// The characters of a text and where they begin, with the end of the text behind them.
struct Characters {
    explicit Characters(std::string_view text) {
        for (std::size_t at = 0; at < text.size();) {
            const CodePoint point = code_point_at(text, at).value_or(CodePoint{0, 1});
            values.push_back(point.value);
            begins.push_back(at);
            at += point.bytes;
        }
        begins.push_back(text.size());
    }

    std::vector<char32_t> values;
    std::vector<std::size_t> begins;
};

AlignedText aligned(const std::vector<Piece>& pieces, const AlignedText& source) {
    const Characters characters(source.text());
    const std::size_t last = characters.values.size() - 1;
    AlignedText written;
    std::size_t next = 0;
    for (const Piece& piece : pieces) {
        const bool inserted = piece.change > 0;
        const std::size_t from = std::min(inserted && next > 0 ? next - 1 : next, last);
        const std::size_t begin = characters.begins[from], end = characters.begins[from + 1];
        if (piece.change == 0 && characters.values[from] == piece.character)
            written.append(source, begin, end);
        else
            // What is written besides a character stands for its end: ranges never go backwards.
            written.append(to_utf8(piece.character),
                           source.origin(inserted ? end - 1 : begin, end));
        if (!inserted)
            next += static_cast<std::size_t>(1 - piece.change);
    }
    return written;
}

}  // namespace

void to_nfc(AlignedText& text) {
    const Characters characters(text.text());
    const auto& values = characters.values;
    if (std::none_of(values.begin(), values.end(), [](char32_t c) { return c >= first_affected; }))
        return;
    text = aligned(recomposed(decomposed(text.text())), text);
}

}  // namespace kvtape::model
