#include "model/added_tokens.hpp"

#include "model/fields.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <limits>
#include <set>

namespace kvtape::model {
namespace {

constexpr std::size_t longest_content = 512;

/// Alphabetic, marks, decimal digits, connectors and joiners (UTS #18, annex C), in classes that
/// every version of PCRE2 knows.
constexpr std::string_view word_class =
    R"([\p{L}\p{Nl}\p{Nd}\p{M}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149})"
    R"(\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}])";

AddedToken read_token(const Json& field, const std::string& what) {
    const Fields token(field, what);
    AddedToken added{.id = static_cast<std::int32_t>(
                         token.integer("id", 0, std::numeric_limits<std::int32_t>::max())),
                     .content = token.text("content"),
                     .special = token.flag("special", false),
                     .single_word = token.flag("single_word", false),
                     .lstrip = token.flag("lstrip", false),
                     .rstrip = token.flag("rstrip", false),
                     .normalized = false};
    added.normalized = token.flag("normalized", !added.special);
    if (added.content.empty() || added.content.size() > longest_content)
        token.refuse("content", "must have 1 to 512 bytes");
    expect_utf8(added.content, what);
    return added;
}

std::size_t before_white_space(std::string_view text, std::size_t end) {
    while (end > 0) {
        const CodePoint point = code_point_before(text, end);
        if (!is_white_space(point.value))
            break;
        end -= point.bytes;
    }
    return end;
}

std::size_t behind_white_space(std::string_view text, std::size_t begin) {
    while (begin < text.size()) {
        const std::optional<CodePoint> point = code_point_at(text, begin);
        if (!point || !is_white_space(point->value))
            break;
        begin += point->bytes;
    }
    return begin;
}

}  // namespace

AddedTokens::AddedTokens(const Json& field, const Normalizer& normalizer, std::string_view what)
    : raw_(1),
      normalized_(1),
      word_(word_class, "words") {
    if (field.is_null())
        return;
    const std::string where = std::string(what) + ", added_tokens";
    if (!field.is_array())
        throw format_error("reading " + where + ": expected an array");
    std::set<std::string> contents;
    for (const Json& one : field) {
        tokens_.push_back(read_token(one, where));
        const std::string& content = tokens_.back().content;
        if (!contents.insert(content).second)
            throw format_error("reading " + where + ": " + Fields::shown(Json(content)) +
                               " is there twice");
    }
    // Where two are written alike once normalised, a special one is found, or the first.
    std::stable_partition(
        tokens_.begin(), tokens_.end(), [](const AddedToken& token) { return token.special; });
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
        AlignedText content(tokens_[i].content, 0);
        if (tokens_[i].normalized)
            normalizer.apply(content);
        insert(tokens_[i].normalized ? normalized_ : raw_, content.text(), i);
    }
    refuse_overlap(where);
}

/// A token that takes in the white space behind it must not take in another token.
void AddedTokens::refuse_overlap(const std::string& where) const {
    const auto blank = std::find_if(tokens_.begin(), tokens_.end(), [](const AddedToken& token) {
        return behind_white_space(token.content, 0) > 0;
    });
    for (const AddedToken& token : tokens_)
        if (token.rstrip && blank != tokens_.end())
            throw format_error("reading " + where + ": rstrip of " +
                               Fields::shown(Json(token.content)) + " beside the token " +
                               Fields::shown(Json(blank->content)) +
                               ", which begins with white space; kvtape does not know both");
}

void AddedTokens::insert(Tree& tree, std::string_view content, std::size_t index) {
    std::size_t node = 0;
    for (const char byte : content) {
        const auto [child, fresh] = tree[node].children.try_emplace(byte, tree.size());
        node = child->second;
        if (fresh)
            tree.emplace_back();
    }
    if (!tree[node].token)
        tree[node].token = index;
}

AddedTokens::Match AddedTokens::match(const Tree& tree,
                                      std::string_view text,
                                      std::size_t offset) const {
    Match longest;
    std::size_t node = 0;
    for (; offset < text.size(); ++offset) {
        const auto child = tree[node].children.find(text[offset]);
        if (child == tree[node].children.end())
            break;
        node = child->second;
        if (tree[node].token)
            longest = {&tokens_[*tree[node].token], offset + 1};
    }
    return longest;
}

bool AddedTokens::stands_alone(std::string_view text, std::size_t begin, std::size_t end) const {
    const auto is_word = [&](std::size_t from, std::size_t bytes) {
        return word_.find(text.substr(from, bytes), 0).has_value();
    };
    if (begin > 0) {
        const std::size_t bytes = code_point_before(text, begin).bytes;
        if (is_word(begin - bytes, bytes))
            return false;
    }
    const auto next = end < text.size() ? code_point_at(text, end) : std::nullopt;
    return !next || !is_word(end, next->bytes);
}

std::vector<AddedPiece> AddedTokens::split(const Tree& tree, std::string_view text) const {
    std::vector<AddedPiece> pieces;
    std::size_t done = 0;
    for (std::size_t offset = 0; offset < text.size();) {
        const Match found = match(tree, text, offset);
        if (found.token == nullptr) {
            ++offset;
            continue;
        }
        std::size_t begin = offset, end = found.end;
        offset = found.end;
        if (found.token->single_word && !stands_alone(text, begin, end))
            continue;
        if (found.token->lstrip)
            begin = std::max(before_white_space(text, begin), done);
        if (found.token->rstrip)
            end = behind_white_space(text, end);
        if (done < begin)
            pieces.push_back({nullptr, done, begin});
        pieces.push_back({found.token, begin, end});
        done = end;
    }
    if (done != text.size())
        pieces.push_back({nullptr, done, text.size()});
    return pieces;
}

std::vector<AddedPiece> AddedTokens::split_raw(std::string_view text) const {
    return split(raw_, text);
}

std::vector<AddedPiece> AddedTokens::split_normalized(std::string_view text) const {
    return split(normalized_, text);
}

}  // namespace kvtape::model
