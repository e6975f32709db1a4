#include "analyze/verification.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"

#include <fstream>
#include <map>
#include <string>

using namespace kvtape;
using namespace kvtape::tests;

namespace {

/// Two heads of which the first reads eight times as much of the needle; the five policies keep
/// shares of it.
struct Shares {
    std::string policy;
    double reader = 0.0, other = 0.0;
    double read = 0.0;  ///< reader recall
    int right = 0;      ///< answers of four
};

const std::vector<Shares> policies = {{"a", 1.0, 0.0, 0.9, 4},
                                      {"b", 0.9, 0.1, 0.5, 3},
                                      {"c", 0.7, 0.9, 0.2, 2},
                                      {"d", 0.5, 1.0, 0.1, 1},
                                      {"e", 0.0, 1.0, 0.0, 0}};

void write(const std::filesystem::path& directory) {
    std::ofstream recall(directory / "recall.csv"), answers(directory / "answers.csv"),
        readers(directory / "readers.csv"), index(directory / "index.csv");
    index << "policy,query_source\n";
    for (const Shares& shares : policies)
        index << shares.policy << ",agnostic\n";
    readers << "policy,parameters,budget,schedule,query_source,sequence,task,needle_read,"
               "needle_recall_readers\n";
    recall << "policy,parameters,budget,schedule,query_source,sequence,needle_recall,"
              "needle_recall_weight,mass_kept,output_error_median\n";
    answers << "policy,parameters,budget,schedule,sequence,task,correct\n";
    for (const Shares& shares : policies)
        for (int sequence = 0; sequence < 4; ++sequence) {
            const std::string cell = shares.policy + ",{},25%,prefill,";
            const std::string name = "000" + std::to_string(sequence);
            recall << cell << "agnostic," << name << ',' << shares.reader << ",0.8,0.5,0.1\n"
                   << cell << "agnostic," << name << ',' << shares.other << ",0.1,0.5,0.1\n";
            readers << cell << "agnostic," << name << ",passkey:digits=16,0.5," << shares.read
                    << '\n';
            answers << cell << name << ",passkey:digits=16," << (sequence < shares.right ? 1 : 0)
                    << '\n';
        }
}

}  // namespace

TEST_CASE("reader recall orders by the heads that read the needle", "[analyze][calibration]") {
    const Folder scratch;
    write(scratch.path());
    std::map<std::string, Calibration> found;
    for (const MetricCalibration& row : calibrate_directories(scratch.path(), scratch.path(), 1))
        found[row.metric] = row.calibration;
    REQUIRE(found.count("needle_recall_readers") == 1);
    CHECK(found["needle_recall_readers"].cells == 5);
    REQUIRE(found["needle_recall_readers"].spearman);
    CHECK(found["needle_recall_readers"].spearman->value == 1.0);
    // A mean over heads mistakes what the other head keeps for a part of the answer.
    REQUIRE(found["needle_recall"].spearman);
    CHECK(found["needle_recall"].spearman->value < 0.5);
    CHECK(!found["mass_kept"].spearman);    // constant
    CHECK(!found["needle_read"].spearman);  // constant
}

TEST_CASE("results without readers.csv are calibrated by the metrics they have",
          "[analyze][calibration]") {
    const Folder scratch;
    write(scratch.path());
    std::filesystem::remove(scratch.path() / "readers.csv");
    std::map<std::string, Calibration> found;
    for (const MetricCalibration& row : calibrate_directories(scratch.path(), scratch.path(), 1))
        found[row.metric] = row.calibration;
    CHECK(found["needle_recall_readers"].cells == 0);
    CHECK(found["needle_recall_weighted"].cells == 5);
}

TEST_CASE("replays with a query source that nobody answered with do not count",
          "[analyze][calibration]") {
    const Folder scratch;
    write(scratch.path());
    {
        std::ofstream recall(scratch.path() / "recall.csv", std::ios::app);
        for (int sequence = 0; sequence < 4; ++sequence)
            recall << "e,{},25%,prefill,question,000" << sequence << ",1,0.8,0.5,0.1\n";
    }
    for (const MetricCalibration& row : calibrate_directories(scratch.path(), scratch.path(), 1)) {
        CHECK(row.calibration.cells <= 5);
        if (row.metric == "needle_recall_weighted")
            CHECK(row.calibration.spearman->value == 1.0);
    }
}

TEST_CASE("cells are compared over the sequences that all of them hold", "[analyze][calibration]") {
    const Folder scratch;
    write(scratch.path());
    {
        // A sixth policy answered one sequence alone, and another that nobody else did.
        std::ofstream(scratch.path() / "index.csv", std::ios::app) << "f,agnostic\n";
        std::ofstream recall(scratch.path() / "recall.csv", std::ios::app);
        std::ofstream answers(scratch.path() / "answers.csv", std::ios::app);
        for (const char* sequence : {"0001", "0009"}) {
            recall << "f,{},25%,prefill,agnostic," << sequence << ",0.4,0.8,0.5,0.1\n";
            answers << "f,{},25%,prefill," << sequence << ",passkey:digits=16,0\n";
        }
    }
    for (const MetricCalibration& row : calibrate_directories(scratch.path(), scratch.path(), 1))
        if (row.metric == "needle_recall") {
            CHECK(row.calibration.cells == 6);
            CHECK(row.calibration.sequences == 1);
        }
}
