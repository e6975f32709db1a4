#include "tests/support/catch.hpp"
#include "tools/recording.hpp"
#include "tools/task_tally.hpp"
#include "tools/workload/workload.hpp"

#include <filesystem>
#include <string>

using namespace kvtape;
using namespace kvtape::workload;

namespace {

const std::filesystem::path data = std::filesystem::path(KVTAPE_SOURCE_DIR) / "data";
const std::filesystem::path needle_model = data / "needle-model";
const std::filesystem::path trained = data / "needle-model-trained";

/// Right answers of a model on the first `count` documents of a task.
std::int64_t right_answers(const std::string& spec,
                           Position length,
                           std::uint64_t count,
                           const std::filesystem::path& directory = needle_model) {
    const Lexicon lexicon = Lexicon::load(needle_model / "lexicon.json");
    const model::Tokenizer tokenizer = model::Tokenizer::load(needle_model / "tokenizer.json");
    const auto backend = model::cpu_backend(ElementType::float32, 2);
    model::Transformer model = model::Transformer::load(directory, *backend);
    const Task task = parse_task(spec);
    std::int64_t right = 0;
    for (std::uint64_t index = 0; index < count; ++index) {
        const Document document = make_document(
            lexicon, tokenizer, task, {.length = length, .depths = {}, .seed = 0}, index);
        const Recording recording(model, tokenizer, tokenize(document, tokenizer), {});
        right += recording.sequence().correct;
    }
    return right;
}

/// Whether two shares can be the same: their Wilson intervals overlap.
bool overlap(std::int64_t right, std::int64_t count, std::int64_t other, std::int64_t others) {
    const ShareInterval a = wilson_interval(right, count);
    const ShareInterval b = wilson_interval(other, others);
    return a.low <= b.high && b.low <= a.high;
}

}  // namespace

TEST_CASE("Wilson intervals are those of the literature", "[tools][accuracy]") {
    CHECK(wilson_interval(20, 20).low == Approx(0.8389).margin(1e-4));
    CHECK(wilson_interval(20, 20).high == Approx(1.0));
    CHECK(wilson_interval(12, 12).low == Approx(0.7575).margin(1e-4));
    CHECK(wilson_interval(0, 10).low == Approx(0.0).margin(1e-12));
    CHECK(wilson_interval(0, 10).high == Approx(0.2775).margin(1e-4));
    CHECK(wilson_interval(0, 0).low == 0.0);
    CHECK(wilson_interval(0, 0).high == 1.0);
}

TEST_CASE("The needle model finds pass keys and keys among others", "[tools][accuracy]") {
    CHECK(right_answers("passkey:digits=16", 512, 12) >= 11);
    CHECK(right_answers("multikey:keys=4", 512, 12) >= 11);
}

TEST_CASE("The needle model follows people and answers two-step questions and lists",
          "[tools][accuracy]") {
    for (const char* task : {"where", "variable:hops=1", "object", "multivalue:values=3"}) {
        const std::int64_t right = right_answers(task, 512, 4);
        INFO(task << ": " << right << " of 4 right");
        CHECK(right == 4);
    }
}

TEST_CASE("The trained needle model follows people as often as it was measured to",
          "[tools][accuracy]") {
    CHECK(overlap(right_answers("where", 512, 20, trained), 20, 13, 20));
}

// Measured on documents of the training program, with another implementation of the model.
TEST_CASE("The trained needle model is as good as measured on every task",
          "[tools][accuracy][slow]") {
    struct Row {
        const char* task;
        Position length;
        std::int64_t right;
    };
    for (const Row& row : {Row{"passkey:digits=5", 1024, 20},
                           Row{"passkey:digits=16", 1024, 20},
                           Row{"passkey:digits=64", 1024, 20},
                           Row{"multikey:keys=4", 1024, 20},
                           Row{"multikey:keys=16", 1024, 16},
                           Row{"where", 1024, 12},
                           Row{"variable:hops=1", 1024, 6},
                           Row{"object", 1024, 2},
                           Row{"multivalue:values=3", 1024, 0}}) {
        const std::int64_t right = right_answers(row.task, row.length, 20, trained);
        INFO(row.task << ": " << right << " of 20 right");
        CHECK(overlap(right, 20, row.right, 20));
    }
}

TEST_CASE("The needle model answers every task", "[tools][accuracy][slow]") {
    for (const char* task : {"passkey:digits=5",
                             "passkey:digits=16",
                             "passkey:digits=64",
                             "multikey:keys=4",
                             "multikey:keys=16",
                             "where",
                             "variable:hops=1",
                             "object",
                             "multivalue:values=3"}) {
        const std::int64_t right = right_answers(task, 1024, 20);
        INFO(task << ": " << right << " of 20 right");
        CHECK(right >= 18);
    }
}
