#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/check.hpp"
#include "trace/reader.hpp"

#include <bit>
#include <cmath>
#include <csignal>
#include <sys/resource.h>
#include <sys/wait.h>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

void write_sequence(TraceWriter& writer, const TraceInfo& info, int index) {
    const SequenceInfo sequence = sample_sequence(20 + index);
    writer.begin_sequence(sequence);
    for (std::int32_t layer = 0; layer < info.shape.layers; ++layer)
        writer.write_layer(layer, sample_layer(info.shape, sequence, 10 * index + layer));
    writer.end_sequence();
}

/// Runs `body` in a child process and returns how it ended (as waitpid says).
template <typename Body>
int in_child(const Body& body) {
    const pid_t child = fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

}  // namespace

TEST_CASE("all 65536 bfloat16 bit patterns survive a file", "[trace][writer]") {
    const Folder folder;
    TraceInfo info = sample_info(ElementType::bfloat16);
    info.shape.head_dim = 1024;
    SequenceInfo sequence = sample_sequence(32);
    LayerData data = sample_layer(info.shape, sequence, 0);
    REQUIRE(data.keys.size() == 65536);
    for (std::size_t bits = 0; bits < data.keys.size(); ++bits)
        data.keys[bits] = std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    TraceWriter writer(folder / "a.kvtape.h5", info);
    writer.begin_sequence(sequence);
    writer.write_layer(0, data);
    writer.write_layer(1, data);
    writer.end_sequence();
    writer.finish();
    LayerData read;
    open_trace(folder / "a.kvtape.h5")->load(0, 1, {.keys = true}, read);
    for (std::size_t bits = 0; bits < data.keys.size(); ++bits) {
        if (std::isnan(data.keys[bits]))
            REQUIRE(std::isnan(read.keys[bits]));
        else
            REQUIRE(std::bit_cast<std::uint32_t>(read.keys[bits]) ==
                    static_cast<std::uint32_t>(bits) << 16);
    }
}

TEST_CASE("a trace longer than a chunk comes back, optional tensors too", "[trace][writer]") {
    const Folder folder;
    const TraceInfo info = sample_info(ElementType::float16);
    SequenceInfo sequence = sample_sequence(1300);
    sequence.query_positions.clear();
    for (Position position = 0; position < 1300; position += 2)
        sequence.query_positions.push_back(position);
    LayerData data = sample_layer(info.shape, sequence, 3);
    data.attention = numbers(4 * 650 * 1300, 9);
    data.query_mean = numbers(4 * 8, 10);
    data.query_covariance = numbers(4 * 8 * 8, 11);
    sequence.replay_chunks = {{.begin = 0, .end = 700, .first = 0, .count = 710},
                              {.begin = 700, .end = 1292, .first = 710, .count = 620}};
    data.replay_queries = numbers(4 * 1330 * 8, 13);
    data.replay_logsumexp = numbers(4 * 1330, 14);
    data.replay_hidden_norm = numbers(1330, 15);
    const std::vector<float> projection = numbers(16 * 32, 12);
    TraceWriter writer(folder / "a.kvtape.h5", info);
    writer.write_output_projection(0, projection);
    writer.write_output_projection(1, projection);
    writer.begin_sequence(sequence);
    writer.write_layer(0, data);
    writer.write_layer(1, data);
    writer.end_sequence();
    writer.finish();
    const auto trace = open_trace(folder / "a.kvtape.h5");
    CHECK(trace->stored(0) == every_part);
    CHECK(trace->output_projection(1) == projection);
    LayerData read;
    trace->load(0, 1, every_part, read);
    CHECK(read.keys == data.keys);
    CHECK(read.queries == data.queries);
    CHECK(read.attention == data.attention);
    CHECK(read.query_mean == data.query_mean);
    CHECK(read.query_covariance == data.query_covariance);
    CHECK(trace->sequence(0).replay_chunks == sequence.replay_chunks);
    CHECK(read.replay_queries == data.replay_queries);
    CHECK(read.replay_logsumexp == data.replay_logsumexp);
    CHECK(read.replay_hidden_norm == data.replay_hidden_norm);
    CHECK(check_file(folder / "a.kvtape.h5").clean());
}

TEST_CASE("a sequence without queries or generated tokens is a sequence", "[trace][writer]") {
    const Folder folder;
    const TraceInfo info = sample_info();
    SequenceInfo sequence = sample_sequence();
    sequence.prompt_len = sequence.length();
    sequence.query_positions.clear();
    sequence.spans.clear();
    sequence.logits_top.clear();
    sequence.logits_top_ids.clear();
    TraceWriter writer(folder / "a.kvtape.h5", info);
    writer.begin_sequence(sequence);
    writer.write_layer(0, sample_layer(info.shape, sequence, 0));
    writer.write_layer(1, sample_layer(info.shape, sequence, 1));
    writer.end_sequence();
    writer.finish();
    const auto trace = open_trace(folder / "a.kvtape.h5");
    CHECK(trace->sequence(0).query_positions.empty());
    CHECK(trace->sequence(0).top_logits == 3);
    CHECK(check_file(folder / "a.kvtape.h5").clean());
}

TEST_CASE("without finish only the partial file is there, and readers want to be asked",
          "[trace][partial]") {
    const Folder folder;
    const TraceInfo info = sample_info();
    {
        TraceWriter writer(folder / "a.kvtape.h5", info);
        write_sequence(writer, info, 0);
        writer.begin_sequence(sample_sequence(21));
    }
    CHECK_FALSE(std::filesystem::exists(folder / "a.kvtape.h5"));
    const std::filesystem::path partial = folder / "a.kvtape.h5.partial";
    CHECK_THROWS_WITH(open_trace(partial), Catch::Matchers::Contains("--partial"));
    const auto trace = open_trace(partial, Unfinished::allow);
    CHECK_FALSE(trace->info().complete);
    REQUIRE(trace->sequences() == 1);
    CHECK(trace->sequence(0).length() == 20);
    const CheckReport report = check_file(partial);
    CHECK_FALSE(report.complete);
    CHECK(report.findings.size() == 1);
    write_sample(folder / "a.kvtape.h5");
    CHECK_FALSE(std::filesystem::exists(partial));
}

TEST_CASE("a writer killed inside a sequence leaves the ones before it readable",
          "[trace][partial]") {
    const Folder folder;
    const TraceInfo info = sample_info();
    const int status = in_child([&] {
        TraceWriter writer(folder / "a.kvtape.h5", info);
        for (int index = 0; index < 3; ++index)
            write_sequence(writer, info, index);
        const SequenceInfo sequence = sample_sequence(23);
        writer.begin_sequence(sequence);
        writer.write_layer(0, sample_layer(info.shape, sequence, 30));
        raise(SIGKILL);
    });
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGKILL);
    CHECK_FALSE(std::filesystem::exists(folder / "a.kvtape.h5"));
    const auto trace = open_trace(folder / "a.kvtape.h5.partial", Unfinished::allow);
    REQUIRE(trace->sequences() == 3);
    for (std::int32_t index = 0; index < 3; ++index) {
        LayerData data;
        trace->load(index, 1, always_recorded, data);
        const LayerData expected =
            sample_layer(info.shape, sample_sequence(20 + index), 10 * index + 1);
        CHECK(data.keys == expected.keys);
        CHECK(data.column_sums == expected.column_sums);
    }
}

TEST_CASE("a full disk is one io error and leaves nothing under the final name",
          "[trace][writer]") {
    // A limit on the size of files stands in for the disk: it needs no mount.
    const Folder folder;
    for (const rlim_t bytes : {512u, 4096u, 20000u, 40000u, 60000u}) {
        INFO(bytes);
        const std::filesystem::path said = folder / "said";
        const int status = in_child([&] {
            std::signal(SIGXFSZ, SIG_IGN);
            const rlimit limit{bytes, bytes};
            setrlimit(RLIMIT_FSIZE, &limit);
            std::string outcome = "no error";
            try {
                write_sample(folder / "a.kvtape.h5");
            } catch (const Error& error) {
                outcome = (error.kind() == ErrorKind::io ? "io: " : "other: ") +
                          std::string(error.what());
            }
            write_bytes(said, outcome);
        });
        REQUIRE(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
        const std::string outcome = bytes_of_file(said);
        CHECK_THAT(outcome, Catch::Matchers::StartsWith("io: "));
        CHECK_THAT(outcome, Catch::Matchers::Contains("a.kvtape.h5.partial"));
        CHECK_THAT(outcome, Catch::Matchers::Contains("File too large"));
        CHECK_FALSE(std::filesystem::exists(folder / "a.kvtape.h5"));
    }
}

TEST_CASE("a file that somebody writes is not taken away from him", "[trace][writer]") {
    const Folder folder;
    const TraceInfo info = sample_info();
    const std::filesystem::path path = folder / "a.kvtape.h5";
    TraceWriter writer(path, info);
    write_sequence(writer, info, 0);
    CHECK_THROWS_WITH(write_sample(path, info, 1, Existing::replace),
                      Catch::Matchers::Contains("a.kvtape.h5.partial") &&
                          Catch::Matchers::Contains("another kvtape is writing it"));
    write_sequence(writer, info, 1);
    writer.finish();
    CHECK(open_trace(path)->sequences() == 2);
    CHECK(check_file(path).clean());
    CHECK_NOTHROW(write_sample(path, info, 1, Existing::replace));
    CHECK(open_trace(path)->sequences() == 1);
}

TEST_CASE("a file that was replaced while it was written gets no final name", "[trace][writer]") {
    const Folder folder;
    const TraceInfo info = sample_info();
    TraceWriter writer(folder / "a.kvtape.h5", info);
    write_sequence(writer, info, 0);
    const std::filesystem::path partial = folder / "a.kvtape.h5.partial";
    std::filesystem::copy_file(partial, folder / "copy");
    std::filesystem::rename(folder / "copy", partial);
    CHECK_THROWS_AS(writer.finish(), Error);
    CHECK_FALSE(std::filesystem::exists(folder / "a.kvtape.h5"));
}

TEST_CASE("a folder that is not there is an io error with the reason", "[trace][writer]") {
    const Folder folder;
    CHECK_THROWS_WITH(write_sample(folder / "no" / "a.kvtape.h5"),
                      Catch::Matchers::Contains("a.kvtape.h5.partial") &&
                          Catch::Matchers::Contains("No such file or directory"));
    CHECK_THROWS_WITH(write_sample(folder.path()), Catch::Matchers::Contains("is a directory"));
}

TEST_CASE("content that no reader accepts is refused by the writer", "[trace][writer]") {
    const Folder folder;
    const TraceInfo info = sample_info();
    TraceWriter writer(folder / "a.kvtape.h5", info);
    SequenceInfo sequence = sample_sequence();
    sequence.context_len = sequence.prompt_len + 1;
    CHECK_THROWS_WITH(writer.begin_sequence(sequence), Catch::Matchers::Contains("context_len"));
    sequence = sample_sequence();
    sequence.spans.push_back({SpanKind::needle, 5, 21, 0});
    CHECK_THROWS_WITH(writer.begin_sequence(sequence), Catch::Matchers::Contains("spans row 2"));
    sequence = sample_sequence();
    sequence.query_positions = {3, 3};
    CHECK_THROWS_WITH(writer.begin_sequence(sequence),
                      Catch::Matchers::Contains("query_positions"));
    using Chunks = std::vector<ReplayChunk>;
    for (const Chunks& chunks : {Chunks{{0, 12, 0, 0}},
                                 Chunks{{0, 11, 0, 5}},
                                 Chunks{{1, 12, 0, 5}},
                                 Chunks{{0, 6, 0, 5}, {7, 12, 5, 5}},
                                 Chunks{{0, 6, 0, 5}, {6, 12, 4, 5}},
                                 Chunks{{0, 6, -1, 5}, {6, 12, 4, 5}},
                                 Chunks{{0, 6, 0, 5}, {6, 6, 5, 5}, {6, 12, 10, 5}}}) {
        sequence = sample_sequence();
        sequence.replay_chunks = chunks;
        CHECK_THROWS_WITH(writer.begin_sequence(sequence),
                          Catch::Matchers::Contains("replay_chunks"));
    }
    CHECK_THROWS_AS(writer.write_layer(0, {}), Error);
    TraceInfo uneven = sample_info();
    uneven.shape.kv_heads = 3;
    CHECK_THROWS_WITH(TraceWriter(folder / "b.kvtape.h5", uneven),
                      Catch::Matchers::Contains("multiple"));
}

TEST_CASE("zero bytes in a text become replacement characters", "[trace][writer]") {
    const Folder folder;
    TraceInfo info = sample_info();
    info.model_id = std::string("a\0b", 3);
    write_sample(folder / "a.kvtape.h5", info);
    CHECK(open_trace(folder / "a.kvtape.h5")->info().model_id ==
          "a\xef\xbf\xbd"
          "b");
}
