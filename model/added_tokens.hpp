#pragma once

#include "core/json.hpp"
#include "model/normalizer.hpp"
#include "model/regex.hpp"

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
    bool single_word = false;  ///< only where no letter, mark or digit stands next to it
    bool lstrip = false;       ///< takes the white space before it in
    bool rstrip = false;       ///< takes the white space behind it in
    bool normalized = false;   ///< looked for, as the normaliser writes it, in normalised text
};

/// A piece of a text: an added token, or what lies between two.
struct AddedPiece {
    const AddedToken* token = nullptr;
    std::size_t begin = 0;
    std::size_t end = 0;
};

/// Finds tokens in text leftmost, then longest.
class AddedTokens {
  public:
    AddedTokens(const Json& field, const Normalizer& normalizer, std::string_view what);

    const std::vector<AddedToken>& all() const { return tokens_; }
    /// Cuts text that is not normalised yet at the tokens that are looked for there.
    std::vector<AddedPiece> split_raw(std::string_view text) const;
    /// Cuts normalised text at the tokens that are looked for there.
    std::vector<AddedPiece> split_normalized(std::string_view text) const;

  private:
    /// A tree of bytes: children by byte, and the token that ends here.
    struct Node {
        std::map<char, std::size_t> children;
        std::optional<std::size_t> token;
    };
    using Tree = std::vector<Node>;
    struct Match {
        const AddedToken* token = nullptr;
        std::size_t end = 0;
    };

    void refuse_overlap(const std::string& where) const;
    static void insert(Tree& tree, std::string_view content, std::size_t index);
    Match match(const Tree& tree, std::string_view text, std::size_t offset) const;
    std::vector<AddedPiece> split(const Tree& tree, std::string_view text) const;
    bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) const;

    std::vector<AddedToken> tokens_;
    Tree raw_, normalized_;
    Regex word_;
};

}  // namespace kvtape::model
