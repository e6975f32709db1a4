#include "model/template.hpp"

#include <string>

namespace kvtape::model {
namespace {

constexpr std::int64_t most_ids = std::int64_t{1} << 24;
constexpr std::size_t most_tokens = 64;

class Reader {
  public:
    explicit Reader(std::span<const Vocabulary::Entry> entries) : entries_(entries) {}

    void add(const Json& field, const std::string& what, bool may_nest);

    Template read;

  private:
    void add_template(const Fields& fields);
    std::vector<std::int32_t> ids_of(const std::string& name, const Fields& fields) const;

    std::span<const Vocabulary::Entry> entries_;
};

void Reader::add(const Json& field, const std::string& what, bool may_nest) {
    const Fields fields(field, what);
    const std::string type = fields.text("type");
    if (type == "TemplateProcessing")
        return add_template(fields);
    if (type == "ByteLevel")
        return;
    if (type != "Sequence" || !may_nest)
        fields.refuse("type",
                      "is " + Fields::shown(Json(type)) +
                          ", which kvtape does not know; it knows ByteLevel, TemplateProcessing "
                          "and a Sequence of these");
    const Json* processors = fields.find("processors");
    if (processors == nullptr || !processors->is_array())
        fields.refuse("processors", "must be an array");
    for (const Json& processor : *processors)
        add(processor, what, false);
}

void Reader::add_template(const Fields& fields) {
    if (read.given)
        fields.refuse("processors", "have TemplateProcessing twice");
    read.given = true;
    const Json* single = fields.find("single");
    if (single == nullptr || !single->is_array() || single->size() > most_tokens)
        fields.refuse("single", "must be an array of at most " + std::to_string(most_tokens));
    int texts = 0;
    for (const Json& one : *single) {
        const Fields piece(one, fields.what() + ", single");
        if (const Json* sequence = piece.find("Sequence")) {
            if (Fields(*sequence, piece.what()).text("id") != "A" || ++texts > 1)
                fields.refuse("single", "must have the text A once");
            continue;
        }
        const Json* token = piece.find("SpecialToken");
        if (token == nullptr)
            fields.refuse("single",
                          "has " + Fields::shown(one) + ", expected a Sequence or a SpecialToken");
        std::vector<std::int32_t>& side = texts == 0 ? read.before : read.behind;
        for (const std::int32_t id : ids_of(Fields(*token, piece.what()).text("id"), fields))
            side.push_back(id);
    }
    if (texts != 1)
        fields.refuse("single", "must have the text A once");
}

/// The ids that the template has for a token of its own; they must be the vocabulary's.
std::vector<std::int32_t> Reader::ids_of(const std::string& name, const Fields& fields) const {
    const Json* all = fields.find("special_tokens");
    if (all == nullptr || !all->is_object() || !all->contains(name))
        fields.refuse("special_tokens", "lack " + Fields::shown(Json(name)) + ", which single has");
    const Fields token(all->at(name), fields.what() + ", special_tokens");
    const Json* ids = token.find("ids");
    const Json* tokens = token.find("tokens");
    if (ids == nullptr || tokens == nullptr || !ids->is_array() || !tokens->is_array() ||
        ids->size() != tokens->size() || ids->size() > most_tokens)
        token.refuse("ids",
                     "and tokens of " + Fields::shown(Json(name)) + " must be of one length");
    std::vector<std::int32_t> found;
    for (std::size_t i = 0; i < ids->size(); ++i) {
        const Json one{{"ids", (*ids)[i]}};
        const auto id =
            static_cast<std::int32_t>(Fields(one, token.what()).integer("ids", 0, most_ids));
        const auto index = static_cast<std::size_t>(id);
        const bool same = index < entries_.size() && entries_[index].known &&
                          Json(entries_[index].bytes) == (*tokens)[i];
        if (!same)
            token.refuse("ids",
                         "give " + Fields::shown((*tokens)[i]) + " the id " + std::to_string(id) +
                             ", which the vocabulary does not");
        found.push_back(id);
    }
    return found;
}

}  // namespace

Template read_template(const Fields& root, std::span<const Vocabulary::Entry> entries) {
    Reader reader(entries);
    if (const Json* field = root.find("post_processor"))
        reader.add(*field, root.what() + ", post_processor", true);
    return reader.read;
}

}  // namespace kvtape::model
