#pragma once

#include "core/json.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// A token that is recognised in the text itself, before anything is split.
struct AddedToken {
    std::int32_t id = 0;
    std::string content;
    bool special = false;
};

/// The `added_tokens` of a tokenizer.json, found leftmost, then longest.
class AddedTokens {
  public:
    /// Tokens that ask for stripping or word boundaries are format errors that name them.
    AddedTokens(const Json& field, std::string_view what);

    const std::vector<AddedToken>& all() const { return tokens_; }
    /// The longest token that begins exactly at `offset`, or null.
    const AddedToken* at(std::string_view text, std::size_t offset) const;

  private:
    /// A tree of bytes: children by byte, and the token that ends here.
    struct Node {
        std::map<char, std::size_t> children;
        std::optional<std::size_t> token;
    };
    void insert(std::size_t index);

    std::vector<AddedToken> tokens_;
    std::vector<Node> nodes_;
};

}  // namespace kvtape::model
