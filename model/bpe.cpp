#include "model/bpe.hpp"

#include "core/error.hpp"
#include "model/byte_level.hpp"
#include "model/utf8.hpp"

#include <queue>
#include <tuple>
#include <utility>

namespace kvtape::model {
namespace {

constexpr std::int32_t none = -1;

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
}

std::int32_t id_of(const TokenIds& entries, std::string_view text) {
    const auto found = entries.find(text);
    return found == entries.end() ? none : found->second;
}

/// A merge that was possible when it was queued.
struct Candidate {
    std::int32_t rank = 0;
    std::ptrdiff_t position = 0;
    std::int32_t result = 0;
    bool operator>(const Candidate& other) const {
        return std::tie(rank, position) > std::tie(other.rank, other.position);
    }
};

}  // namespace

/// Bytes of the piece that are one token so far; a doubly linked list inside one vector.
struct Bpe::Symbol {
    std::int32_t id = none;
    std::size_t bytes = 0;  ///< 0 once merged into its left neighbour
    std::ptrdiff_t left = -1;
    std::ptrdiff_t right = -1;
};

std::string byte_token(unsigned char byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    return {'<', '0', 'x', digits[byte >> 4u], digits[byte & 15u], '>'};
}

Bpe::Bpe(TokenIds entries, Alphabet alphabet, bool whole_first)
    : entries_(std::move(entries)),
      alphabet_(alphabet),
      whole_first_(whole_first) {
    for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte)
        byte_ids_[byte] = id_of(entries_, byte_token(static_cast<unsigned char>(byte)));
}

std::string Bpe::missing_byte() const {
    for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte)
        if (byte_ids_[byte] == none)
            return byte_token(static_cast<unsigned char>(byte));
    return {};
}

bool Bpe::add_merge(std::string_view left, std::string_view right) {
    const std::int32_t a = id_of(entries_, left), b = id_of(entries_, right);
    const std::int32_t both = id_of(entries_, std::string(left).append(right));
    if (a == none || b == none || both == none)
        return false;
    merges_.insert_or_assign(key_of(a, b), Merge{next_rank_++, both});
    return true;
}

const Bpe::Merge* Bpe::find(std::int32_t left, std::int32_t right) const {
    const auto found = merges_.find(key_of(left, right));
    return found == merges_.end() ? nullptr : &found->second;
}

/// One symbol for each character, or for each byte of a character without an entry.
std::vector<Bpe::Symbol> Bpe::symbols_of(std::string_view piece) const {
    std::vector<Symbol> symbols;
    symbols.reserve(piece.size());
    const auto add = [&](std::int32_t id, std::size_t bytes) {
        const std::ptrdiff_t at = std::ssize(symbols);
        symbols.push_back({id, bytes, at - 1, at + 1});
    };
    for (std::size_t at = 0; at < piece.size();) {
        const CodePoint point = code_point_at(piece, at).value_or(CodePoint{0, 1});
        const std::string_view character = piece.substr(at, point.bytes);
        at += point.bytes;
        if (const std::int32_t id = id_of(entries_, character); id != none)
            add(id, point.bytes);
        else if (alphabet_ == Alphabet::characters)
            for (const char byte : character)
                add(byte_ids_[static_cast<unsigned char>(byte)], 1);
        else
            throw format_error("encoding text: the tokenizer has no token for the byte " +
                               std::to_string(static_cast<unsigned char>(
                                   byte_of_character(point.value).value_or('\0'))));
    }
    if (!symbols.empty())
        symbols.back().right = -1;
    return symbols;
}

/// Merges neighbours in order of rank, then from left to right.
void Bpe::merge(std::vector<Symbol>& symbols) const {
    const auto at = [&](std::ptrdiff_t i) -> Symbol& {
        return symbols[static_cast<std::size_t>(i)];
    };
    // The queue makes long pieces cost n log n; outdated candidates are recognised when popped.
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto consider = [&](std::ptrdiff_t left) {
        if (left < 0 || at(left).right < 0)
            return;
        if (const Merge* merge = find(at(left).id, at(at(left).right).id))
            queue.push({merge->rank, left, merge->result});
    };
    for (std::ptrdiff_t i = 0; i < std::ssize(symbols); ++i)
        consider(i);
    while (!queue.empty()) {
        const Candidate candidate = queue.top();
        queue.pop();
        Symbol& left = at(candidate.position);
        if (left.bytes == 0 || left.right < 0)
            continue;
        Symbol& right = at(left.right);
        const Merge* merge = find(left.id, right.id);
        if (merge == nullptr || merge->result != candidate.result)
            continue;
        left.id = candidate.result;
        left.bytes += right.bytes;
        right.bytes = 0;
        left.right = right.right;
        if (left.right >= 0)
            at(left.right).left = candidate.position;
        consider(left.left);
        consider(candidate.position);
    }
}

void Bpe::encode(std::string_view piece, std::vector<Token>& out) const {
    if (whole_first_)
        if (const std::int32_t whole = id_of(entries_, piece); whole != none) {
            out.push_back({whole, piece.size()});
            return;
        }
    std::vector<Symbol> symbols = symbols_of(piece);
    merge(symbols);
    for (const Symbol& symbol : symbols)
        if (symbol.bytes > 0)
            out.push_back({symbol.id, symbol.bytes});
}

}  // namespace kvtape::model
