#include "model/tokenizer.hpp"

#include "model/added_tokens.hpp"
#include "model/bpe.hpp"
#include "model/byte_level.hpp"
#include "model/fields.hpp"
#include "model/files.hpp"
#include "model/pre_tokenizer.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <utility>

namespace kvtape::model {
namespace {

constexpr std::size_t most_file_bytes = std::size_t{1} << 28;
constexpr std::int64_t most_ids = std::int64_t{1} << 24;
/// Ids may have gaps, but not so many that a small file claims much memory.
constexpr std::size_t most_unused_ids = std::size_t{1} << 16;

/// What one id stands for.
struct Entry {
    std::string bytes;
    bool known = false;
    bool special = false;
};

/// A field that must be null (or empty, or false) for us to give the right ids.
void expect_unused(const Fields& fields, const char* name) {
    const Json* field = fields.find(name);
    if (field != nullptr && *field != "" && *field != false)
        fields.refuse(name, "is " + Fields::shown(*field) + ", which kvtape does not know");
}

/// A stage of which only kinds that do not change ids are known.
void expect_stage(const Fields& root, const char* name, std::span<const std::string_view> known) {
    const Json* stage = root.find(name);
    if (stage == nullptr)
        return;
    const Fields fields(*stage, root.what() + ", " + name);
    const std::string type = fields.text("type");
    if (std::find(known.begin(), known.end(), type) == known.end())
        fields.refuse("type", "is " + Fields::shown(Json(type)) + ", which kvtape does not know");
    if (type != "Sequence")
        return;
    const Json* processors = fields.find("processors");
    if (processors == nullptr || !processors->is_array())
        fields.refuse("processors", "must be an array");
    for (const Json& processor : *processors) {
        const std::string inner = Fields(processor, fields.what()).text("type");
        if (inner == "Sequence" || std::find(known.begin(), known.end(), inner) == known.end())
            fields.refuse("processors",
                          "has " + Fields::shown(Json(inner)) + ", which kvtape does not know");
    }
}

std::int32_t read_id(const Json& value, const Fields& fields) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= most_ids)
        fields.refuse("vocab",
                      "has the id " + Fields::shown(value) + ", expected an integer from 0 to " +
                          std::to_string(most_ids - 1));
    return static_cast<std::int32_t>(value.get<std::uint64_t>());
}

/// The vocabulary by id and by bytes, with the added tokens.
class Vocabulary {
  public:
    Vocabulary(const Fields& model, const AddedTokens& added) {
        for (const AddedToken& token : added.all())
            added_.emplace(token.content, token.id);
        const Json* vocab = model.find("vocab");
        if (vocab == nullptr || !vocab->is_object() || vocab->empty())
            model.refuse("vocab", "must be an object with at least one token");
        end_ = vocab->size() + added.all().size() + most_unused_ids;
        for (const auto& [text, value] : vocab->items())
            add_entry(text, read_id(value, model), model);
        for (const AddedToken& token : added.all())
            add_token(token, model);
    }

    std::vector<Entry> by_id;
    std::unordered_map<std::string, std::int32_t> by_bytes;

  private:
    Entry& slot(std::int32_t id, const Fields& model) {
        const auto index = static_cast<std::size_t>(id);
        if (index >= end_)
            model.refuse("vocab", "has the id " + std::to_string(id) + ", far above its size");
        if (index >= by_id.size())
            by_id.resize(index + 1);
        return by_id[index];
    }

    void add_entry(const std::string& text, std::int32_t id, const Fields& model) {
        Entry& entry = slot(id, model);
        if (entry.known)
            model.refuse("vocab", "has the id " + std::to_string(id) + " twice");
        // An added token may be listed here too, then in plain text.
        const bool plain = added_.contains(text);
        const std::optional<std::string> bytes = plain ? text : bytes_of_entry(text);
        if (!bytes || bytes->empty())
            model.refuse("vocab",
                         "has the token " + Fields::shown(Json(text)) +
                             ", which is not written in the byte-level alphabet");
        entry = {.bytes = *bytes, .known = true, .special = false};
        if (!plain)
            by_bytes.emplace(*bytes, id);
    }

    void add_token(const AddedToken& token, const Fields& model) {
        Entry& entry = slot(token.id, model);
        if (entry.known && entry.bytes != token.content)
            model.refuse("added_tokens",
                         "give " + Fields::shown(Json(token.content)) + " the id " +
                             std::to_string(token.id) + ", which another token has");
        entry = {.bytes = token.content, .known = true, .special = token.special};
    }

    std::unordered_map<std::string, std::int32_t> added_;
    std::size_t end_ = 0;
};

/// The two parts of one merge: `"a b"` or `["a", "b"]`, as bytes.
std::optional<std::pair<std::string, std::string>> parts_of(const Json& merge) {
    std::string left, right;
    if (merge.is_string()) {
        const auto& text = merge.get_ref<const std::string&>();
        const std::size_t space = text.find(' ');
        if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
            return {};
        left = text.substr(0, space);
        right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
    }
    const std::optional<std::string> left_bytes = bytes_of_entry(left);
    const std::optional<std::string> right_bytes = bytes_of_entry(right);
    if (!left_bytes || !right_bytes || left.empty() || right.empty())
        return {};
    return std::pair(*left_bytes, *right_bytes);
}

Bpe read_bpe(const Fields& model, std::unordered_map<std::string, std::int32_t> entries) {
    Bpe bpe(std::move(entries), model.flag("ignore_merges", false));
    const Json* merges = model.find("merges");
    if (merges == nullptr || !merges->is_array())
        model.refuse("merges", "must be an array");
    for (const Json& merge : *merges) {
        const auto parts = parts_of(merge);
        if (!parts || !bpe.add_merge(parts->first, parts->second))
            model.refuse("merges",
                         "have " + Fields::shown(merge) +
                             ", expected two tokens of the vocabulary whose union is one");
    }
    return bpe;
}

}  // namespace

struct Tokenizer::State {
    AddedTokens added;
    PreTokenizer pre_tokenizer;
    std::vector<Entry> entries;
    Bpe bpe;

    void encode_plain(std::string_view text, std::int64_t offset, Encoding& encoding) const;
    const Entry& entry(std::int32_t id) const;
};

/// Text without added tokens, which begins at byte `offset` of the whole.
void Tokenizer::State::encode_plain(std::string_view text,
                                    std::int64_t offset,
                                    Encoding& encoding) const {
    std::vector<Bpe::Token> tokens;
    for (const std::string_view piece : pre_tokenizer.split(text))
        bpe.encode(piece, tokens);
    for (const Bpe::Token& token : tokens) {
        encoding.ids.push_back(token.id);
        encoding.begins.push_back(offset);
        offset += static_cast<std::int64_t>(token.bytes);
        encoding.ends.push_back(offset);
    }
}

const Entry& Tokenizer::State::entry(std::int32_t id) const {
    if (id < 0 || id >= std::ssize(entries) || !entries[static_cast<std::size_t>(id)].known)
        throw format_error("decoding tokens: the tokenizer has no token " + std::to_string(id));
    return entries[static_cast<std::size_t>(id)];
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
    return parse(read_text(tokenizer_json, most_file_bytes), tokenizer_json.string());
}

Tokenizer Tokenizer::parse(std::string_view json, std::string_view what) {
    constexpr std::array<std::string_view, 3> processors{
        "ByteLevel", "TemplateProcessing", "Sequence"};
    constexpr std::array<std::string_view, 1> decoders{"ByteLevel"};
    const Json parsed = parse_json(json, what);
    const Fields root(parsed, what);
    expect_unused(root, "normalizer");
    // These add tokens or trim offsets around a finished encoding; ours is the plain one.
    expect_stage(root, "post_processor", processors);
    expect_stage(root, "decoder", decoders);
    const Json* model_field = root.find("model");
    if (model_field == nullptr)
        root.refuse("model", "is missing");
    const Fields model(*model_field, root.what() + ", model");
    if (const std::string type = model.text("type", "BPE"); type != "BPE")
        model.refuse(
            "type",
            "is " + Fields::shown(Json(type)) + ", which kvtape does not know; it knows BPE");
    for (const char* name :
         {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"})
        expect_unused(model, name);
    AddedTokens added(parsed.value("added_tokens", Json()), what);
    Vocabulary vocabulary(model, added);
    return Tokenizer(std::make_unique<State>(
        State{.added = std::move(added),
              .pre_tokenizer = PreTokenizer(parsed.value("pre_tokenizer", Json()), what),
              .entries = std::move(vocabulary.by_id),
              .bpe = read_bpe(model, std::move(vocabulary.by_bytes))}));
}

Encoding Tokenizer::encode(std::string_view text) const {
    expect_utf8(text, "text to encode");
    Encoding encoding;
    std::size_t plain = 0;
    for (std::size_t offset = 0; offset < text.size();) {
        const AddedToken* token = state_->added.at(text, offset);
        if (token == nullptr) {
            ++offset;
            continue;
        }
        state_->encode_plain(
            text.substr(plain, offset - plain), static_cast<std::int64_t>(plain), encoding);
        encoding.ids.push_back(token->id);
        encoding.begins.push_back(static_cast<std::int64_t>(offset));
        offset += token->content.size();
        encoding.ends.push_back(static_cast<std::int64_t>(offset));
        plain = offset;
    }
    state_->encode_plain(text.substr(plain), static_cast<std::int64_t>(plain), encoding);
    return encoding;
}

std::string Tokenizer::bytes_of(std::int32_t id) const {
    return state_->entry(id).bytes;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
    std::string text;
    for (const std::int32_t id : ids)
        if (const Entry& entry = state_->entry(id); !entry.special)
            text += entry.bytes;
    return text;
}

bool Tokenizer::is_special(std::int32_t id) const {
    return state_->entry(id).special;
}

std::int32_t Tokenizer::vocabulary_size() const {
    return static_cast<std::int32_t>(state_->entries.size());
}

}  // namespace kvtape::model
