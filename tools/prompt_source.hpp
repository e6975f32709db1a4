#pragma once

#include "tools/record_request.hpp"
#include "tools/workload/chat_template.hpp"
#include "tools/workload/prompt_file.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kvtape {

/// The prompts of a request, in order: the documents of its workloads, then those of its file,
/// which are read when they are asked for. Refers to the tokenizer.
class PromptSource {
  public:
    /// Makes the documents, and checks every line of the file, the template and the room that the
    /// model has for each prompt, before anything runs.
    PromptSource(const RecordRequest& request,
                 const model::Tokenizer& tokenizer,
                 const model::Config& config);

    std::int64_t size() const;
    workload::Prompt make(std::int64_t index) const;
    /// The prompt as an error names it: `sequence 3 (houses; mine.jsonl, line 4)`.
    std::string name_of(std::int64_t index, const workload::Prompt& prompt) const;
    /// The name of the template that the file's prompts are put into; empty without a file.
    std::string template_name() const { return chat_ ? chat_->name : std::string(); }

    /// One line on prompts that are longer than the model's positions; empty where there are none.
    const std::string& warning() const { return warning_; }

  private:
    void make_documents(const RecordRequest& request, const std::optional<workload::Lexicon>& own);
    void open_file(const RecordRequest& request, const std::optional<workload::Lexicon>& own);
    void expect_known(const std::string& what,
                      const workload::Prompt& prompt,
                      const model::Config& config) const;

    const model::Tokenizer& tokenizer_;
    std::uint64_t seed_;
    std::vector<workload::Prompt> documents_;
    std::optional<workload::PromptFile> file_;
    std::optional<workload::ChatTemplate> chat_;
    std::string warning_;
};

}  // namespace kvtape
