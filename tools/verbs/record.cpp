#include "core/json.hpp"
#include "model/transformer.hpp"
#include "tools/progress.hpp"
#include "tools/record_request.hpp"
#include "tools/task_tally.hpp"
#include "tools/verb.hpp"
#include "trace/writer.hpp"

#include <chrono>
#include <iostream>
#include <malloc.h>
#include <system_error>

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

/// Runs the model over every prompt, writing each sequence as it ends.
std::vector<TaskTally> record_all(model::Transformer& model,
                                  const model::Tokenizer& tokenizer,
                                  const std::vector<workload::Prompt>& prompts,
                                  const RecordRequest& request,
                                  TraceWriter& writer,
                                  bool quiet) {
    std::vector<TaskTally> tallies;
    const std::string partial = request.out.string() + ".partial";
    Progress progress("recording sequence", std::ssize(prompts), quiet);
    std::int64_t done = 0;
    std::int64_t size = bytes_of_file(partial);
    for (const workload::Prompt& prompt : prompts) {
        progress.update(done, prompt.task);
        const auto start = Clock::now();
        RecordingOptions options = request.recording;
        options.progress = [&](Position ran) {
            progress.update(done, model_progress(prompt.task, ran, prompt.prompt_len));
        };
        const Recording recording(model, tokenizer, prompt, options);
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        recording.write(writer);
        const std::int64_t grown = bytes_of_file(partial);
        tally_of(tallies, prompt.task).add(recording.sequence(), seconds, grown - size);
        size = grown;
        progress.update(++done, prompt.task);
    }
    return tallies;
}

void print(const std::vector<TaskTally>& tallies,
           const RecordRequest& request,
           const std::string& fingerprint,
           bool json) {
    if (!json) {
        for (const TaskTally& tally : tallies)
            std::cout << tally.line() << '\n';
        std::cout << "fingerprint " << fingerprint << '\n';
        return;
    }
    Json tasks = Json::array();
    for (const TaskTally& tally : tallies)
        tasks.push_back(tally.json());
    const Json whole = {{"out", request.out.string()},
                        {"bytes", bytes_of_file(request.out)},
                        {"fingerprint", fingerprint},
                        {"tasks", tasks}};
    std::cout << to_text(whole) << '\n';
}

int run(const Invocation& invocation) {
    // Sequences of many lengths would fragment the heap: buffers above a mebibyte go back when
    // freed.
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    const RecordRequest request = read_record_request(invocation);
    const model::Config config = model::Config::load(request.model / "config.json");
    expect_room(request, config.max_positions);
    const model::Tokenizer tokenizer = model::Tokenizer::load(request.model / "tokenizer.json");
    const std::vector<workload::Prompt> prompts = make_prompts(request, tokenizer);
    expect_room(request, prompts, config.max_positions);
    const std::unique_ptr<model::Backend> backend =
        make_backend(request.device, config.stored_type, request.recording.threads);
    model::Transformer model = model::Transformer::load(request.model, *backend);
    TraceWriter writer(request.out,
                       describe_trace(model, request.model),
                       request.overwrite ? Existing::replace : Existing::refuse);
    for (std::int32_t layer = 0; request.output_projection && layer < model.shape().layers; ++layer)
        writer.write_output_projection(layer, model.output_projection(layer));
    const std::vector<TaskTally> tallies =
        record_all(model, tokenizer, prompts, request, writer, invocation.common.quiet);
    print(tallies, request, writer.finish(), invocation.common.json);
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
                "  kvtape record --model llama-3.2-1b --prompts mine.jsonl --out mine.kvtape.h5\n",
            .declare = declare_record,
            .run = run};
}

}  // namespace kvtape::verbs
