#include "model/tokenizer.hpp"

#include "model/added_tokens.hpp"
#include "model/bpe.hpp"
#include "model/fields.hpp"
#include "model/files.hpp"
#include "model/normalizer.hpp"
#include "model/pre_tokenizer.hpp"
#include "model/template.hpp"
#include "model/utf8.hpp"
#include "model/vocabulary.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

namespace kvtape::model {
namespace {

constexpr std::size_t most_file_bytes = std::size_t{1} << 28;
constexpr std::size_t longest_text = std::numeric_limits<std::uint32_t>::max();
/// A field that must be null (or empty, or false) for us to give the right ids.
void expect_unused(const Fields& fields, const char* name) {
    const Json* field = fields.find(name);
    if (field != nullptr && *field != "" && *field != false)
        fields.refuse(name, "is " + Fields::shown(*field) + ", which kvtape does not know");
}

/// Decoding is ours; a decoder that tells of other tokens than these is not understood.
void expect_known_decoder(const Json& decoder, const std::string& what, bool may_nest) {
    constexpr std::array<std::string_view, 6> known{
        "ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip"};
    const Fields fields(decoder, what);
    const std::string type = fields.text("type");
    if (type == "Sequence" && may_nest) {
        const Json* all = fields.find("decoders");
        if (all == nullptr || !all->is_array())
            fields.refuse("decoders", "must be an array");
        for (const Json& one : *all)
            expect_known_decoder(one, what, false);
    } else if (std::find(known.begin(), known.end(), type) == known.end())
        fields.refuse("type", "is " + Fields::shown(Json(type)) + ", which kvtape does not know");
}

/// The two parts of one merge: `"a b"` or `["a", "b"]`.
std::optional<std::pair<std::string, std::string>> parts_of(const Json& merge) {
    if (merge.is_string()) {
        const auto& text = merge.get_ref<const std::string&>();
        const std::size_t space = text.find(' ');
        if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
            return {};
        return std::pair(text.substr(0, space), text.substr(space + 1));
    }
    if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
        return {};
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
}

Bpe read_bpe(const Fields& model, TokenIds entries, Bpe::Alphabet alphabet) {
    Bpe bpe(std::move(entries), alphabet, model.flag("ignore_merges", false));
    if (alphabet == Bpe::Alphabet::characters && !bpe.missing_byte().empty())
        model.refuse("vocab",
                     "lacks " + bpe.missing_byte() +
                         ", but byte_fallback is true: it must have all of <0x00> to <0xFF>");
    const Json* merges = model.find("merges");
    if (merges == nullptr)
        model.refuse("merges",
                     "are missing; kvtape needs the merges of a BPE tokenizer, which a complete "
                     "tokenizer.json has");
    if (!merges->is_array())
        model.refuse("merges", "must be an array");
    for (const Json& merge : *merges) {
        const auto parts = parts_of(merge);
        if (!parts || parts->first.empty() || parts->second.empty() ||
            !bpe.add_merge(parts->first, parts->second))
            model.refuse("merges",
                         "have " + Fields::shown(merge) +
                             ", expected two tokens of the vocabulary whose union is one");
    }
    return bpe;
}

Bpe::Alphabet alphabet_of(const PreTokenizer& pre_tokenizer, const Fields& model) {
    const bool fallback = model.flag("byte_fallback", false);
    if (pre_tokenizer.byte_level() && fallback)
        model.refuse("byte_fallback",
                     "is true, which kvtape does not know with the pre_tokenizer ByteLevel");
    if (!pre_tokenizer.byte_level() && !fallback)
        model.refuse("byte_fallback",
                     "is false and the pre_tokenizer has no ByteLevel; kvtape needs either, so "
                     "that every text has tokens");
    return fallback ? Bpe::Alphabet::characters : Bpe::Alphabet::bytes;
}

void add(Encoding& encoding, std::int32_t id, AlignedText::Origin origin) {
    encoding.ids.push_back(id);
    encoding.begins.push_back(origin.begin);
    encoding.ends.push_back(origin.end);
}

}  // namespace

struct Tokenizer::State {
    Normalizer normalizer;
    AddedTokens added;
    PreTokenizer pre_tokenizer;
    std::vector<Vocabulary::Entry> entries;
    Template around;
    Bpe bpe;

    void encode_plain(AlignedText text, Encoding& encoding) const;
    void encode_raw(AlignedText text, Encoding& encoding) const;
    const Vocabulary::Entry* entry(std::int32_t id) const;
};

/// Normalised text without added tokens.
void Tokenizer::State::encode_plain(AlignedText text, Encoding& encoding) const {
    std::vector<Bpe::Token> tokens;
    for (const AlignedText& piece : pre_tokenizer.split(std::move(text))) {
        tokens.clear();
        bpe.encode(piece.text(), tokens);
        std::size_t begin = 0;
        for (const Bpe::Token& token : tokens) {
            add(encoding, token.id, piece.origin(begin, begin + token.bytes));
            begin += token.bytes;
        }
    }
}

/// Text without the added tokens that are looked for before normalising.
void Tokenizer::State::encode_raw(AlignedText text, Encoding& encoding) const {
    normalizer.apply(text);
    for (const AddedPiece& piece : added.split_normalized(text.text()))
        if (piece.token != nullptr)
            add(encoding, piece.token->id, text.origin(piece.begin, piece.end));
        else
            encode_plain(text.slice(piece.begin, piece.end), encoding);
}

/// Null for an id without a token.
const Vocabulary::Entry* Tokenizer::State::entry(std::int32_t id) const {
    if (id < 0 || id >= std::ssize(entries) || !entries[static_cast<std::size_t>(id)].known)
        return nullptr;
    return &entries[static_cast<std::size_t>(id)];
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
    return parse(read_text(tokenizer_json, most_file_bytes), tokenizer_json.string());
}

Tokenizer Tokenizer::parse(std::string_view json, std::string_view what) {
    const Json parsed = parse_json(json, what);
    const Fields root(parsed, what);
    if (const Json* decoder = root.find("decoder"))
        expect_known_decoder(*decoder, root.what() + ", decoder", true);
    const Json* model_field = root.find("model");
    if (model_field == nullptr)
        root.refuse("model", "is missing");
    const Fields model(*model_field, root.what() + ", model");
    if (const std::string type = model.text("type", "BPE"); type != "BPE")
        model.refuse(
            "type",
            "is " + Fields::shown(Json(type)) + ", which kvtape does not know; it knows BPE");
    for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
        expect_unused(model, name);
    Normalizer normalizer(parsed.value("normalizer", Json()), what);
    AddedTokens added(parsed.value("added_tokens", Json()), normalizer, what);
    PreTokenizer pre_tokenizer(parsed.value("pre_tokenizer", Json()), what);
    const Bpe::Alphabet alphabet = alphabet_of(pre_tokenizer, model);
    Vocabulary vocabulary(model, added, alphabet);
    Template around = read_template(root, vocabulary.entries);
    return Tokenizer(std::make_unique<State>(
        State{.normalizer = std::move(normalizer),
              .added = std::move(added),
              .pre_tokenizer = std::move(pre_tokenizer),
              .entries = std::move(vocabulary.entries),
              .around = std::move(around),
              .bpe = read_bpe(model, std::move(vocabulary.names), alphabet)}));
}

Encoding Tokenizer::encode(std::string_view text) const {
    if (text.size() > longest_text)
        throw format_error("encoding text: it has " + std::to_string(text.size()) +
                           " bytes, expected at most " + std::to_string(longest_text));
    expect_utf8(text, "text to encode");
    Encoding encoding;
    for (const AddedPiece& piece : state_->added.split_raw(text)) {
        AlignedText part(text.substr(piece.begin, piece.end - piece.begin), piece.begin);
        if (piece.token != nullptr)
            add(encoding, piece.token->id, part.origin(0, part.text().size()));
        else
            state_->encode_raw(std::move(part), encoding);
    }
    return encoding;
}

Encoding Tokenizer::encode_in_template(std::string_view text) const {
    Encoding whole;
    for (const std::int32_t id : state_->around.before)
        add(whole, id, {0, 0});
    const Encoding own = encode(text);
    whole.ids.insert(whole.ids.end(), own.ids.begin(), own.ids.end());
    whole.begins.insert(whole.begins.end(), own.begins.begin(), own.begins.end());
    whole.ends.insert(whole.ends.end(), own.ends.begin(), own.ends.end());
    const auto end = static_cast<std::uint32_t>(text.size());
    for (const std::int32_t id : state_->around.behind)
        add(whole, id, {end, end});
    return whole;
}

std::optional<std::string> Tokenizer::template_prefix() const {
    if (!state_->around.given)
        return std::nullopt;
    std::string prefix;
    for (const std::int32_t id : state_->around.before)
        prefix += bytes_of(id);
    return prefix;
}

std::string Tokenizer::bytes_of(std::int32_t id) const {
    const Vocabulary::Entry* entry = state_->entry(id);
    return entry == nullptr ? std::string() : entry->bytes;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
    std::string text;
    for (const std::int32_t id : ids)
        if (const Vocabulary::Entry* entry = state_->entry(id); entry != nullptr && !entry->special)
            text += entry->bytes;
    return text;
}

bool Tokenizer::is_special(std::int32_t id) const {
    const Vocabulary::Entry* entry = state_->entry(id);
    return entry != nullptr && entry->special;
}

std::int32_t Tokenizer::vocabulary_size() const {
    return static_cast<std::int32_t>(state_->entries.size());
}

}  // namespace kvtape::model
