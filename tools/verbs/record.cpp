#include "core/error.hpp"
#include "core/json.hpp"
#include "model/transformer.hpp"
#include "tools/earlier_recording.hpp"
#include "tools/progress.hpp"
#include "tools/prompt_source.hpp"
#include "tools/record_request.hpp"
#include "tools/task_tally.hpp"
#include "tools/verb.hpp"
#include "trace/reader.hpp"
#include "trace/writer.hpp"

#include <chrono>
#include <iostream>
#include <malloc.h>
#include <optional>
#include <system_error>
#include <utility>

namespace kvtape::verbs {
namespace {

using Clock = std::chrono::steady_clock;

/// Of the file as it is now; 0 when the system does not say.
std::int64_t bytes_of_file(const std::filesystem::path& file) {
    std::error_code failure;
    const std::uintmax_t bytes = std::filesystem::file_size(file, failure);
    return failure ? 0 : static_cast<std::int64_t>(bytes);
}

TaskTally& tally_of(std::vector<TaskTally>& tallies, const std::string& task) {
    for (TaskTally& tally : tallies)
        if (tally.task == task)
            return tally;
    tallies.emplace_back().task = task;
    return tallies.back();
}

/// One call of `record`: the model runs over every prompt that no earlier run has recorded, and
/// each sequence is written as it ends.
class Run {
  public:
    Run(const RecordRequest& request, model::Transformer& model, const PromptSource& prompts)
        : request_(request),
          model_(model),
          prompts_(prompts),
          info_(describe_trace(model, request.model)) {}

    /// Takes over the sequences of an earlier run, once it is sure that they are what this run
    /// would record: the last of them is recorded again and compared.
    void resume(EarlierRecording& earlier, const model::Tokenizer& tokenizer) {
        if (earlier.sequences() == 0)
            return;
        earlier.expect_model(info_, request_.output_projection);
        if (earlier.sequences() > prompts_.size())
            throw usage_error("resuming " + request_.out.string() + ": it holds " +
                              std::to_string(earlier.sequences()) + " sequences, and only " +
                              std::to_string(prompts_.size()) +
                              " are asked for; --overwrite records them anew");
        for (std::int32_t index = 0; index < earlier.sequences(); ++index)
            earlier.expect_prompt(index, prompts_.make(index));
        const std::int32_t last = earlier.sequences() - 1;
        const std::filesystem::path check = request_.out.string() + ".check";
        const RemovedAtEnd removed(check);
        {
            TraceWriter writer(check, info_, Existing::replace);
            run_over(last, prompts_.make(last), request_.recording, tokenizer).write(writer);
            writer.finish();
        }
        earlier.expect_same(last,
                            *open_trace(check, Unfinished::refuse, request_.recording.threads));
        earlier_ = &earlier;
    }

    /// Records what is missing, if anything is; returns the fingerprint.
    std::string record(const model::Tokenizer& tokenizer, bool quiet) {
        if (earlier_ && !earlier_->fingerprint().empty() && taken_over() == prompts_.size()) {
            for (std::int32_t index = 0; index < taken_over(); ++index)
                tally_of(tallies_, earlier_->sequence(index).task).keep(earlier_->sequence(index));
            return earlier_->fingerprint();
        }
        if (earlier_)
            earlier_->make_way();
        const bool replaces = request_.overwrite || request_.resume;
        TraceWriter writer(request_.out, info_, replaces ? Existing::replace : Existing::refuse);
        for (std::int32_t layer = 0; request_.output_projection && layer < info_.shape.layers;
             ++layer)
            writer.write_output_projection(layer, model_.output_projection(layer));
        for (std::int32_t index = 0; index < taken_over(); ++index) {
            earlier_->copy(index, writer);
            tally_of(tallies_, earlier_->sequence(index).task).keep(earlier_->sequence(index));
        }
        record_rest(tokenizer, writer, quiet);
        const std::string fingerprint = writer.finish();
        std::error_code ignored;
        std::filesystem::remove(set_aside(request_.out), ignored);
        return fingerprint;
    }

    const std::vector<TaskTally>& tallies() const { return tallies_; }
    /// How many sequences an earlier run had finished.
    std::int32_t taken_over() const { return earlier_ ? earlier_->sequences() : 0; }

  private:
    /// A file of this run alone, under both its names.
    class RemovedAtEnd {
      public:
        explicit RemovedAtEnd(std::filesystem::path file) : file_(std::move(file)) {}
        RemovedAtEnd(const RemovedAtEnd&) = delete;
        RemovedAtEnd& operator=(const RemovedAtEnd&) = delete;
        ~RemovedAtEnd() {
            std::error_code ignored;
            std::filesystem::remove(file_, ignored);
            std::filesystem::remove(file_.string() + ".partial", ignored);
        }

      private:
        std::filesystem::path file_;
    };

    Recording run_over(std::int64_t index,
                       const workload::Prompt& prompt,
                       const RecordingOptions& options,
                       const model::Tokenizer& tokenizer) {
        try {
            return {model_, tokenizer, prompt, options};
        } catch (Error& error) {
            error.add("recording " + prompts_.name_of(index, prompt));
            throw;
        }
    }

    void record_rest(const model::Tokenizer& tokenizer, TraceWriter& writer, bool quiet) {
        const std::string partial = request_.out.string() + ".partial";
        Progress progress("recording sequence", prompts_.size(), quiet);
        std::int64_t size = bytes_of_file(partial);
        for (std::int64_t index = taken_over(); index < prompts_.size(); ++index) {
            const workload::Prompt prompt = prompts_.make(index);
            progress.update(index, prompt.task);
            const auto start = Clock::now();
            RecordingOptions options = request_.recording;
            options.progress = [&](Position ran) {
                progress.update(index,
                                model_progress(prompt.task, ran, prompt.prompt_len),
                                model_share(ran, prompt.prompt_len, options.max_new_tokens));
            };
            const Recording recording = run_over(index, prompt, options, tokenizer);
            const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
            recording.write(writer);
            const std::int64_t grown = bytes_of_file(partial);
            tally_of(tallies_, prompt.task).add(recording.sequence(), seconds, grown - size);
            size = grown;
            progress.update(index + 1, prompt.task);
        }
    }

    const RecordRequest& request_;
    model::Transformer& model_;
    const PromptSource& prompts_;
    TraceInfo info_;
    EarlierRecording* earlier_ = nullptr;
    std::vector<TaskTally> tallies_;
};

void print(const Run& run,
           const RecordRequest& request,
           const PromptSource& prompts,
           const std::string& fingerprint,
           bool json) {
    if (!json) {
        for (const TaskTally& tally : run.tallies())
            std::cout << tally.line() << '\n';
        if (!prompts.template_name().empty())
            std::cout << "template " << prompts.template_name() << '\n';
        if (request.resume)
            std::cout << "resumed " << run.taken_over() << " of " << prompts.size()
                      << " sequences\n";
        std::cout << "fingerprint " << fingerprint << '\n';
        return;
    }
    Json tasks = Json::array();
    for (const TaskTally& tally : run.tallies())
        tasks.push_back(tally.json());
    Json whole = {{"out", request.out.string()},
                  {"bytes", bytes_of_file(request.out)},
                  {"fingerprint", fingerprint},
                  {"resumed", run.taken_over()},
                  {"tasks", tasks}};
    if (!prompts.template_name().empty())
        whole["template"] = prompts.template_name();
    std::cout << to_text(whole) << '\n';
}

int run(const Invocation& invocation) {
    // Sequences of many lengths would fragment the heap: buffers above a mebibyte go back when
    // freed.
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    const RecordRequest request = read_record_request(invocation);
    const model::Config config = model::Config::load(request.model / "config.json");
    const model::Tokenizer tokenizer = model::Tokenizer::load(request.model / "tokenizer.json");
    const PromptSource prompts(request, tokenizer, config);
    if (!prompts.warning().empty() && !invocation.common.quiet)
        std::cerr << "kvtape: " << prompts.warning() << '\n';
    const std::unique_ptr<model::Backend> backend =
        make_backend(request.device, config.stored_type, request.recording.threads);
    model::Transformer model = model::Transformer::load(request.model, *backend);
    Run recording(request, model, prompts);
    std::optional<EarlierRecording> earlier;
    if (request.resume)
        recording.resume(earlier.emplace(request.out, request.recording.threads), tokenizer);
    const std::string fingerprint = recording.record(tokenizer, invocation.common.quiet);
    print(recording, request, prompts, fingerprint, invocation.common.json);
    return exit_done;
}

}  // namespace

Verb record() {
    return {.name = "record",
            .synopsis = "record [--model DIR] --workload SPEC... --out FILE",
            .summary = "runs a model over a workload and records the trace",
            .examples =
                "  kvtape record --workload passkey:digits=16 --out passkey.kvtape.h5\n"
                "  kvtape record --workload where --workload object --sequences 20 --length 2048 "
                "--out moves.kvtape.h5\n"
                "  kvtape record --workload passkey --depth 0,0.5,1 --out depths.kvtape.h5\n"
                "  kvtape record --model llama-3.2-1b --prompts mine.jsonl --out mine.kvtape.h5\n"
                "  kvtape record --model llama-3.2-1b --prompts niah_single_1.jsonl --format ruler "
                "--resume --out niah.kvtape.h5\n",
            .declare = declare_record,
            .run = run};
}

}  // namespace kvtape::verbs
