#pragma once

#include "model/config.hpp"
#include "tools/device.hpp"
#include "tools/recording.hpp"
#include "tools/verb.hpp"
#include "tools/workload/prompts.hpp"
#include "tools/workload/task.hpp"
#include "tools/workload/workload.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvtape {

/// What `record` was asked to do, checked as far as it can be without a model.
struct RecordRequest {
    std::filesystem::path model;
    std::filesystem::path out;
    std::filesystem::path prompts;  ///< empty: none
    workload::PromptFormat prompt_format = workload::PromptFormat::kvtape;
    std::string chat_template = "auto";  ///< a name, a text, or auto: the model's own
    std::vector<workload::Task> tasks;
    std::int64_t sequences = 4;  ///< of each task
    workload::DocumentOptions documents;
    RecordingOptions recording;
    Device device;
    bool output_projection = false;  ///< store W_o of every layer
    bool overwrite = false;
    bool resume = false;  ///< keep the sequences that an earlier run finished
};

/// More sequences than this are refused.
inline constexpr std::int64_t most_sequences = 10000;

/// Declares the options of `record`.
void declare_record(boost::program_options::options_description& own,
                    boost::program_options::positional_options_description& order);
/// Reads them. What cannot work is a usage error; an output that cannot be written an io error.
RecordRequest read_record_request(const Invocation& invocation);

/// Holds sequences against the positions that a model was trained for.
class LengthCheck {
  public:
    explicit LengthCheck(const model::Config& config) : config_(config) {}

    /// Counts a sequence that may become this long. A model that cannot run so far is refused with
    /// a format error that names `what`.
    void expect(const std::string& what, std::int64_t positions);
    /// One line on the sequences that are longer than the model's positions, and what happens to
    /// them; empty where there are none.
    std::string warning() const;

  private:
    const model::Config& config_;
    std::int64_t beyond_ = 0;
    std::int64_t longest_ = 0;
};

/// The positions that a prompt may take, with its answer and its second pass.
std::int64_t positions_of(const RecordRequest& request, const workload::Prompt& prompt);

}  // namespace kvtape
