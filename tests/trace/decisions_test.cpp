#include "trace/decisions.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/check.hpp"
#include "trace/input.hpp"

#include <bit>
#include <cmath>
#include <limits>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

DecisionInfo sample_decisions() {
    return {.producer = "kvtape test",
            .trace_fingerprint = "0123456789abcdef0123456789abcdef",
            .policy = "sample",
            .parameters = R"({"window":4})",
            .budget = "25%",
            .schedule = "prefill",
            .query_source = "agnostic",
            .loop = "replay",
            .fingerprint = {},
            .seed = 18446744073709551615u};
}

DecisionSequence sample_blocks(const std::string& name) {
    return {.name = name,
            .kept_tokens = 16,
            .kept_bytes = 1024,
            .full_bytes = 1536,
            .blocks = {{0, 6, false}, {6, 8, false}, {8, 9, true}}};
}

LayerFate sample_fate() {
    LayerFate fate;
    const float nothing = std::numeric_limits<float>::quiet_NaN();
    for (int i = 0; i < 18; ++i) {
        fate.evicted_at.push_back(i % 4 - 1);
        fate.merged_into.push_back(i % 9 == 3 ? 7 : -1);
        fate.scores.push_back(i % 9 == 8 ? nothing : static_cast<float>(i) / 3.0f);
    }
    return fate;
}

/// `sample_fate` with three merged entries of four dimensions.
LayerFate merging_fate() {
    LayerFate fate = sample_fate();
    fate.merged.entries = {{0, 0, 0}, {0, 0, 2}, {1, 1, 3}};
    for (int i = 0; i < 12; ++i) {
        fate.merged.keys.push_back(static_cast<float>(i) / 7.0f);
        fate.merged.values.push_back(static_cast<float>(i) * -3.0f);
    }
    return fate;
}

std::string write_decisions(const std::filesystem::path& path,
                            const LayerFate& fate,
                            const DecisionInfo& info = sample_decisions(),
                            const DecisionSequence& amounts = sample_blocks("")) {
    DecisionWriter writer(path, info);
    for (const char* name : {"0001", "0004"}) {
        DecisionSequence sequence = amounts;
        sequence.name = name;
        writer.begin_sequence(sequence, 2, 9);
        writer.write_layer(0, fate);
        writer.write_layer(3, fate);
        writer.end_sequence();
    }
    return writer.finish();
}

void load_all(const std::filesystem::path& path) {
    const auto file = open_decisions(path);
    for (std::int32_t index = 0; index < file->sequences(); ++index)
        for (const std::int32_t layer : file->layers(index))
            file->load(index, layer);
}

}  // namespace

TEST_CASE("a decision file comes back as it was written", "[trace][decisions]") {
    const Folder folder;
    const LayerFate fate = sample_fate();
    const std::string fingerprint = write_decisions(folder / "a.decisions.h5", fate);
    const auto file = open_decisions(folder / "a.decisions.h5");
    CHECK(file->info().fingerprint == fingerprint);
    CHECK(file->info().seed == sample_decisions().seed);
    CHECK(file->info().parameters == sample_decisions().parameters);
    REQUIRE(file->sequences() == 2);
    CHECK(file->sequence(1).name == "0004");
    CHECK(file->sequence(1).blocks == sample_blocks("").blocks);
    CHECK(file->sequence(0).kept_bytes == 1024);
    CHECK(file->layers(0) == std::vector<std::int32_t>{0, 3});
    CHECK(file->tokens(0) == 9);
    CHECK(file->kv_heads(0) == 2);
    const LayerFate read = file->load(1, 3);
    CHECK(read.evicted_at == fate.evicted_at);
    CHECK(read.merged_into == fate.merged_into);
    REQUIRE(read.scores.size() == fate.scores.size());
    for (std::size_t i = 0; i < read.scores.size(); ++i)
        CHECK(std::bit_cast<std::uint32_t>(read.scores[i]) ==
              std::bit_cast<std::uint32_t>(fate.scores[i]));
    CHECK(check_file(folder / "a.decisions.h5").clean());
}

TEST_CASE("merged keys and values come back, and only where something was merged",
          "[trace][decisions]") {
    const Folder folder;
    const LayerFate fate = merging_fate();
    write_decisions(folder / "a.decisions.h5", fate);
    CHECK(open_decisions(folder / "a.decisions.h5")->load(0, 3).merged == fate.merged);
    CHECK(check_file(folder / "a.decisions.h5").clean());
    write_decisions(folder / "b.decisions.h5", sample_fate());
    CHECK(open_decisions(folder / "b.decisions.h5")->load(0, 3).merged == MergedEntries{});
    CHECK(InputGroup::root(InputFile::open(folder / "a.decisions.h5"))
              .group("sequences/0001/layers/003/merged")
              .names() == std::vector<std::string>{"entries", "keys", "values"});
    CHECK_FALSE(InputGroup::root(InputFile::open(folder / "b.decisions.h5"))
                    .group("sequences/0001/layers/003")
                    .has("merged"));
}

TEST_CASE("merged entries that cannot be are refused", "[trace][decisions]") {
    const Folder folder;
    const auto refusal = [&](const auto& spoil) {
        LayerFate fate = merging_fate();
        spoil(fate.merged);
        const auto path = folder / "a.decisions.h5";
        std::filesystem::remove(path);
        write_decisions(path, fate);
        try {
            check_file(path);
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::format);
            return std::string(error.what());
        }
        return std::string("accepted");
    };
    const auto row = [&](MergedEntries::Entry entry) {
        return refusal([&](MergedEntries& merged) { merged.entries[1] = entry; });
    };
    const std::string wrong = "merged/entries has row 1";
    CHECK_THAT(row({0, 2, 3}), Catch::Matchers::Contains(wrong));  // no such head
    CHECK_THAT(row({0, -1, 3}), Catch::Matchers::Contains(wrong));
    CHECK_THAT(row({3, 0, 3}), Catch::Matchers::Contains(wrong));  // no such block
    CHECK_THAT(row({-1, 0, 3}), Catch::Matchers::Contains(wrong));
    CHECK_THAT(row({0, 1, 6}), Catch::Matchers::Contains(wrong));  // behind the block
    CHECK_THAT(row({0, 1, -1}), Catch::Matchers::Contains(wrong));
    CHECK_THAT(row({0, 0, 1}), Catch::Matchers::Contains(wrong));  // gone with that block
    CHECK_THAT(row({0, 0, 0}), Catch::Matchers::Contains(wrong));  // not after the one before
    CHECK_THAT(refusal([](MergedEntries& merged) { merged.keys[5] = NAN; }),
               Catch::Matchers::Contains("merged/keys has element 5 that is not a finite number"));
    CHECK(refusal([](MergedEntries&) {}) == "accepted");
}

TEST_CASE("merged rows of the wrong size are not written", "[trace][decisions]") {
    const Folder folder;
    LayerFate fate = merging_fate();
    fate.merged.values.pop_back();
    CHECK_THROWS_WITH(write_decisions(folder / "a.decisions.h5", fate),
                      Catch::Matchers::Contains("merged rows of the wrong size"));
}

TEST_CASE("the same decisions give the same bytes", "[trace][decisions]") {
    const Folder folder;
    CHECK(write_decisions(folder / "a.decisions.h5", sample_fate()) ==
          write_decisions(folder / "b.decisions.h5", sample_fate()));
    CHECK(bytes_of_file(folder / "a.decisions.h5") == bytes_of_file(folder / "b.decisions.h5"));
}

TEST_CASE("fates outside of the blocks and the sequence are refused", "[trace][decisions]") {
    const Folder folder;
    LayerFate fate = sample_fate();
    fate.evicted_at[5] = 3;
    write_decisions(folder / "a.decisions.h5", fate);
    CHECK_THROWS_WITH(load_all(folder / "a.decisions.h5"),
                      Catch::Matchers::Contains("evicted_at has element 5 = 3, expected -1 to 2"));
    fate = sample_fate();
    fate.merged_into[0] = 9;
    write_decisions(folder / "b.decisions.h5", fate);
    CHECK_THROWS_WITH(check_file(folder / "b.decisions.h5"),
                      Catch::Matchers::Contains("merged_into has element 0 = 9"));
}

TEST_CASE("golden decision files follow the trace they name", "[trace][golden]") {
    const auto file =
        open_decisions(golden("two-sequences-float32.lagkv-lag-32@0.25.decisions.h5"));
    CHECK(file->info().policy == "lagkv");
    CHECK(file->info().schedule == "prefill+decode");
    const Json expected =
        parse_json(bytes_of_file(golden("two-sequences-float32.json")), "expectations");
    CHECK(file->info().trace_fingerprint == expected["fingerprint"].get<std::string>());
    REQUIRE(file->sequences() == 2);
    CHECK(file->sequence(0).blocks.size() == 202);
    CHECK(file->sequence(0).blocks[2] == Block{412, 413, true});
    CHECK(file->load(0, 1).scores.empty());
    CHECK(open_decisions(golden("small-float32.ems@0.1.decisions.h5"))->load(0, 0).scores.size() ==
          2 * 744);
}

TEST_CASE("a trace is not a decision file, nor the other way round", "[trace][decisions]") {
    CHECK_THROWS_WITH(open_decisions(golden("small-float32.kvtape.h5")),
                      Catch::Matchers::Contains("it is a trace, expected a decision file"));
    CHECK_THROWS_WITH(open_trace(golden("small-float32.ems@0.1.decisions.h5")),
                      Catch::Matchers::Contains("it is a decision file, expected a trace"));
}

TEST_CASE("decisions that are not finished leave no file", "[trace][decisions]") {
    const Folder folder;
    {
        DecisionWriter writer(folder / "a.decisions.h5", sample_decisions());
        CHECK(std::filesystem::exists(folder / "a.decisions.h5.partial"));
    }
    CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("amounts that the arrays do not give are found and named", "[trace][decisions]") {
    const Folder folder;
    const auto problems = [&](const std::string& schedule, const DecisionSequence& amounts) {
        DecisionInfo info = sample_decisions();
        info.schedule = schedule;
        const auto path = folder / "a.decisions.h5";
        std::filesystem::remove(path);
        write_decisions(path, sample_fate(), info, amounts);
        std::vector<std::string> found;
        for (const Finding& finding : check_file(path).findings)
            found.push_back(finding.problem);
        return found;
    };
    DecisionSequence amounts = sample_blocks("");
    CHECK(problems("prefill", amounts).empty());
    amounts.kept_tokens = 15;
    const auto tokens = problems("prefill", amounts);
    REQUIRE(tokens.size() == 2);  // once for each sequence
    CHECK_THAT(
        tokens[1],
        Catch::Matchers::EndsWith("/sequences/0004 has kept_tokens = 15, but its layers give 16"));
    amounts = sample_blocks("");
    amounts.kept_bytes = 1023;
    CHECK_THAT(problems("prefill", amounts).at(0),
               Catch::Matchers::Contains("kept_bytes = 1023, but its layers give 1024 to 1536"));
    // Masked tokens stay in memory: what is held may be more than what is kept, but not than all.
    amounts.kept_bytes = 1536;
    CHECK(problems("prefill", amounts).empty());
    amounts.kept_bytes = 1024 + 32;
    CHECK(problems("prefill", amounts).empty());
    amounts.kept_bytes = 1024 + 31;
    CHECK_THAT(problems("prefill", amounts).at(0), Catch::Matchers::Contains("in steps of 32"));
    amounts.kept_bytes = 1537;
    CHECK_THAT(problems("prefill", amounts).at(0),
               Catch::Matchers::Contains("kept_bytes = 1537, but its layers give 1024 to 1536"));
    amounts = sample_blocks("");
    amounts.full_bytes = 1537;
    CHECK_THAT(problems("prefill", amounts).at(0), Catch::Matchers::Contains("full_bytes = 1537"));
}

TEST_CASE("amounts are taken after the last decision of the schedule", "[trace][decisions]") {
    const Folder folder;
    const auto clean = [&](const std::string& schedule, std::int64_t kept, std::int64_t all) {
        DecisionInfo info = sample_decisions();
        info.schedule = schedule;
        DecisionSequence amounts = sample_blocks("");
        amounts.kept_tokens = kept;
        amounts.kept_bytes = 64 * kept;
        amounts.full_bytes = 64 * all;
        const auto path = folder / "a.decisions.h5";
        std::filesystem::remove(path);
        write_decisions(path, sample_fate(), info, amounts);
        return check_file(path).clean();
    };
    const LayerFate fate = sample_fate();
    const auto kept = [&](Position end, std::int32_t block) {
        std::int64_t count = 0;
        for (Position token = 0; token < 18; ++token) {
            const std::int32_t gone = fate.evicted_at[static_cast<std::size_t>(token)];
            count += token % 9 < end && (gone < 0 || gone > block) ? 2 : 0;
        }
        return count;
    };
    CHECK(clean("prefill", kept(6, 0), 4 * 6));
    CHECK(clean("prompt", kept(8, 1), 4 * 8));
    CHECK(clean("block:4", kept(8, 1), 4 * 8));
    CHECK(clean("prefill+decode", kept(9, 2), 4 * 9));
    CHECK_FALSE(clean("prompt", kept(6, 0), 4 * 6));
    CHECK_FALSE(clean("prefill+decode", kept(6, 0), 4 * 6));
}
