#include "model/bpe.hpp"

#include "core/error.hpp"

#include <queue>
#include <tuple>

namespace kvtape::model {
namespace {

constexpr std::int32_t none = -1;

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
}

/// A run of bytes that is one token so far; a doubly linked list inside one vector.
struct Symbol {
    std::int32_t id = none;
    std::size_t bytes = 0;  ///< 0 once merged into its left neighbour
    std::ptrdiff_t left = -1;
    std::ptrdiff_t right = -1;
};

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

Bpe::Bpe(std::unordered_map<std::string, std::int32_t> entries, bool whole_first)
    : entries_(std::move(entries)),
      whole_first_(whole_first) {
    for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
        const auto found = entries_.find(std::string(1, static_cast<char>(byte)));
        byte_ids_[byte] = found == entries_.end() ? none : found->second;
    }
}

bool Bpe::add_merge(const std::string& left, const std::string& right) {
    const auto a = entries_.find(left);
    const auto b = entries_.find(right);
    const auto merged = entries_.find(left + right);
    if (a == entries_.end() || b == entries_.end() || merged == entries_.end())
        return false;
    merges_.insert_or_assign(key_of(a->second, b->second), Merge{next_rank_++, merged->second});
    return true;
}

const Bpe::Merge* Bpe::find(std::int32_t left, std::int32_t right) const {
    const auto found = merges_.find(key_of(left, right));
    return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::encode(std::string_view piece, std::vector<Token>& out) const {
    if (whole_first_)
        if (const auto whole = entries_.find(std::string(piece)); whole != entries_.end()) {
            out.push_back({whole->second, piece.size()});
            return;
        }
    std::vector<Symbol> symbols(piece.size());
    const auto at = [&](std::ptrdiff_t i) -> Symbol& {
        return symbols[static_cast<std::size_t>(i)];
    };
    for (std::ptrdiff_t i = 0; i < std::ssize(symbols); ++i) {
        const auto byte = static_cast<unsigned char>(piece[static_cast<std::size_t>(i)]);
        if (byte_ids_[byte] == none)
            throw format_error("encoding text: the tokenizer has no token for the byte " +
                               std::to_string(byte));
        at(i) = {byte_ids_[byte], 1, i - 1, i + 1 < std::ssize(symbols) ? i + 1 : -1};
    }

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
    for (const Symbol& symbol : symbols)
        if (symbol.bytes > 0)
            out.push_back({symbol.id, symbol.bytes});
}

}  // namespace kvtape::model
