#include "model/added_tokens.hpp"

#include "model/fields.hpp"

#include <limits>

namespace kvtape::model {
namespace {

constexpr std::size_t longest_content = 512;

AddedToken read_token(const Json& field, const std::string& what) {
    const Fields token(field, what);
    AddedToken added{.id = static_cast<std::int32_t>(
                         token.integer("id", 0, std::numeric_limits<std::int32_t>::max())),
                     .content = token.text("content"),
                     .special = token.flag("special", false)};
    if (added.content.empty() || added.content.size() > longest_content)
        token.refuse("content", "must have 1 to 512 bytes");
    for (const char* name : {"single_word", "lstrip", "rstrip"})
        if (token.flag(name, false))
            token.refuse(name,
                         "of " + Fields::shown(Json(added.content)) +
                             " is true, which kvtape does not know");
    return added;
}

}  // namespace

AddedTokens::AddedTokens(const Json& field, std::string_view what) : nodes_(1) {
    if (field.is_null())
        return;
    const std::string where = std::string(what) + ", added_tokens";
    if (!field.is_array())
        throw format_error("reading " + where + ": expected an array");
    for (const Json& token : field) {
        tokens_.push_back(read_token(token, where));
        insert(tokens_.size() - 1);
    }
}

void AddedTokens::insert(std::size_t index) {
    std::size_t node = 0;
    for (const char byte : tokens_[index].content) {
        const auto [child, fresh] = nodes_[node].children.try_emplace(byte, nodes_.size());
        node = child->second;
        if (fresh)
            nodes_.emplace_back();
    }
    nodes_[node].token = index;
}

const AddedToken* AddedTokens::at(std::string_view text, std::size_t offset) const {
    const AddedToken* longest = nullptr;
    std::size_t node = 0;
    for (; offset < text.size(); ++offset) {
        const auto child = nodes_[node].children.find(text[offset]);
        if (child == nodes_[node].children.end())
            break;
        node = child->second;
        if (nodes_[node].token)
            longest = &tokens_[*nodes_[node].token];
    }
    return longest;
}

}  // namespace kvtape::model
