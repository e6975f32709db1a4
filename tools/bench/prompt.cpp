#include "tools/bench/prompt.hpp"

#include "core/error.hpp"
#include "core/philox.hpp"
#include "model/tokenizer.hpp"
#include "model/transformer.hpp"
#include "tools/recording.hpp"
#include "trace/writer.hpp"

#include <system_error>
#include <unistd.h>

namespace kvtape::bench {
namespace {

/// A folder of this process for a file that nobody keeps.
class ScratchFolder {
  public:
    ScratchFolder()
        : path_(std::filesystem::temp_directory_path() /
                ("kvtape-bench-" + std::to_string(getpid()))) {
        std::error_code failure;
        std::filesystem::create_directory(path_, failure);
        if (failure)
            throw io_error("benchmarking prompt: making " + path_.string() + ": " +
                           failure.message() + "; TMPDIR names another place");
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ~ScratchFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// Tokens drawn at random, all of them context, without a text.
workload::Prompt random_prompt(Position count, std::int32_t vocabulary) {
    workload::Prompt prompt;
    const Philox random(1);
    for (Position i = 0; i < count; ++i)
        prompt.tokens.push_back(static_cast<std::int32_t>(
            random.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(vocabulary))));
    prompt.text_offsets.assign(prompt.tokens.size() + 1, 0);
    prompt.context_len = prompt.prompt_len = count;
    return prompt;
}

Json prompt_row(const std::string& name,
                const Setting& setting,
                const Times& times,
                const Times& plain,
                Position tokens) {
    Json result = row(name, setting, times);
    result["tokens"] = tokens;
    result["tokens_per_second"] = tokens / times.median;
    if (&times != &plain)
        result["slower_than_without"] = times.median / plain.median - 1.0;
    return result;
}

}  // namespace

std::vector<Json> bench_prompt(const Setting& setting,
                               const Device& device,
                               const std::filesystem::path& directory,
                               Position tokens) {
    const model::Config config = model::Config::load(directory / "config.json");
    const auto backend = make_backend(device, config.stored_type, setting.threads);
    model::Transformer transformer = model::Transformer::load(directory, *backend);
    const std::int32_t positions = transformer.config().max_positions;
    if (tokens > positions)
        throw usage_error("benchmarking prompt: --prompt-tokens is " + std::to_string(tokens) +
                          ", but the model has " + std::to_string(positions) +
                          " positions (max_position_embeddings in its config.json)");
    const auto tokenizer = model::Tokenizer::load(directory / "tokenizer.json");
    const workload::Prompt prompt = random_prompt(tokens, transformer.config().vocabulary);
    const auto record = [&] {
        return Recording(
            transformer, tokenizer, prompt, {.max_new_tokens = 0, .threads = setting.threads});
    };
    const ScratchFolder scratch;
    const Times plain = measure(setting, [&] {
        model::KvCache cache(transformer, 0);
        transformer.forward(prompt.tokens, cache);
        backend->synchronize();
    });
    const Times kept = measure(setting, [&] { record(); });
    const Times written = measure(setting, [&] {
        TraceWriter writer(scratch.path() / "prompt.kvtape.h5",
                           describe_trace(transformer, directory),
                           Existing::replace);
        record().write(writer);
        writer.finish();
    });
    const auto result = [&](const std::string& name, const Times& times) {
        Json one = prompt_row(name, setting, times, plain, tokens);
        one["device"] = backend->description();
        return one;
    };
    return {result("prompt", plain),
            result("prompt with recording in memory", kept),
            result("prompt with recording into a file", written)};
}

}  // namespace kvtape::bench
