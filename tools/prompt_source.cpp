#include "tools/prompt_source.hpp"

#include "core/error.hpp"
#include "tools/needle_model.hpp"
#include "tools/visible_text.hpp"

#include <system_error>

namespace kvtape {
namespace {

std::optional<workload::Lexicon> lexicon_of(const std::filesystem::path& model) {
    std::error_code absent;
    if (!std::filesystem::exists(model / "lexicon.json", absent))
        return std::nullopt;
    return workload::Lexicon::load(model / "lexicon.json");
}

/// What the request asks for; by itself the model's own: that of its lexicon, if it has one.
workload::ChatTemplate template_of(const RecordRequest& request,
                                   const std::optional<workload::Lexicon>& own) {
    if (request.chat_template != "auto")
        return workload::parse_chat_template(request.chat_template);
    if (!own)
        return workload::chat_template_of(request.model);
    workload::ChatTemplate chat = workload::parse_chat_template("{context}" + own->question);
    chat.name = "lexicon";
    return chat;
}

}  // namespace

PromptSource::PromptSource(const RecordRequest& request,
                           const model::Tokenizer& tokenizer,
                           const model::Config& config)
    : tokenizer_(tokenizer),
      seed_(request.documents.seed) {
    const std::optional<workload::Lexicon> own = lexicon_of(request.model);
    if (!request.tasks.empty())
        make_documents(request, own);
    if (!request.prompts.empty())
        open_file(request, own);
    if (size() > most_sequences)
        throw usage_error("asked for " + std::to_string(size()) +
                          " sequences; a trace holds at most " + std::to_string(most_sequences));
    LengthCheck check(config);
    for (std::int64_t index = 0; index < size(); ++index) {
        const workload::Prompt prompt = make(index);
        const std::string what = name_of(index, prompt);
        expect_known(what, prompt, config);
        check.expect(what, positions_of(request, prompt));
    }
    warning_ = check.warning();
}

std::string PromptSource::name_of(std::int64_t index, const workload::Prompt& prompt) const {
    std::string name = "sequence " + std::to_string(index) + " (" + prompt.task;
    if (const std::int64_t line = index - std::ssize(documents_); line >= 0)
        name += "; " + file_->place_of(line);
    return name + ")";
}

void PromptSource::expect_known(const std::string& what,
                                const workload::Prompt& prompt,
                                const model::Config& config) const {
    for (const std::int32_t token : prompt.tokens)
        if (token >= config.vocabulary)
            throw format_error("recording " + what + ": its token " + std::to_string(token) +
                               " (\"" + visible_text(tokenizer_.bytes_of(token)) +
                               "\") is outside the model's vocabulary of " +
                               std::to_string(config.vocabulary) +
                               "; tokenizer.json and config.json (vocab_size) do not belong "
                               "together");
}

void PromptSource::make_documents(const RecordRequest& request,
                                  const std::optional<workload::Lexicon>& own) {
    const workload::Lexicon lexicon =
        own ? *own : workload::Lexicon::load(needle_model_directory() / "lexicon.json");
    for (const workload::Task& task : request.tasks)
        for (std::int64_t index = 0; index < request.sequences; ++index) {
            const workload::Document document = workload::make_document(
                lexicon, tokenizer_, task, request.documents, static_cast<std::uint64_t>(index));
            documents_.push_back(workload::tokenize(document, tokenizer_));
        }
}

void PromptSource::open_file(const RecordRequest& request,
                             const std::optional<workload::Lexicon>& own) {
    chat_ = template_of(request, own);
    workload::expect_tokens(*chat_, tokenizer_);
    file_.emplace(request.prompts, request.prompt_format);
}

std::int64_t PromptSource::size() const {
    return std::ssize(documents_) + (file_ ? file_->size() : 0);
}

workload::Prompt PromptSource::make(std::int64_t index) const {
    if (index < std::ssize(documents_))
        return documents_[static_cast<std::size_t>(index)];
    return workload::tokenize(
        workload::document_of(
            file_->read(index - std::ssize(documents_)), tokenizer_, *chat_, seed_),
        tokenizer_);
}

}  // namespace kvtape
