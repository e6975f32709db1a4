#include "core/error.hpp"
#include "policies/files.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <memory>
#include <string>

namespace kvtape::policies {
namespace {

/// Scores that something else computed, a learned scorer perhaps, read from a file of the trace:
/// what they rank best is kept. `sinks` and `recent` protect what the scorer was not asked about.
struct ExternalScores {
    static constexpr bool may_be_negative = true;
    std::string file = {};
    std::int32_t sinks = 0;
    std::int32_t recent = 0;
    std::shared_ptr<const ScoreTable> table = nullptr;

    void fields(auto& field) {
        field("file", file, FilePath{}, "HDF5 file of scores for this trace (docs/scores-file.md)");
        field("sinks", sinks, Whole{0, 1 << 20}, "first tokens, always kept");
        field("recent", recent, Whole{0, 1 << 20}, "latest tokens, always kept");
    }
    Needs needs() const { return {}; }
    Moments moments() const { return {.blocks = true, .decoding = true}; }
    ByRule by_rule(Position budget, Position) const {
        const Position first = std::min(sinks, budget);
        return {.first = first, .last = std::min(recent, budget - first)};
    }
    void expect_fit(const Shape&) const {
        if (table == nullptr)
            throw usage_error(
                "policy scores has no scores: the parameter 'file' is not set; write "
                "scores:file=F.h5");
    }

    std::vector<Scores> score_layer(const LayerView& layer, const SessionContext& context) const {
        const std::vector<float> all = table->layer(context.sequence, layer.layer);
        const std::size_t tokens = all.size() / layer.heads.size();
        if (static_cast<std::size_t>(layer.block.end) > tokens)
            throw usage_error("policy scores: " + file + " has scores of " +
                              std::to_string(tokens) + " tokens of sequence " +
                              std::string(context.sequence) + ", and there are " +
                              std::to_string(layer.block.end) +
                              "; a run that goes on beyond its recording cannot use them");
        std::vector<Scores> scores(layer.heads.size());
        for (std::size_t head = 0; head < scores.size(); ++head)
            for (const Position position : layer.heads[head].positions)
                scores[head].push_back(all[head * tokens + static_cast<std::size_t>(position)]);
        return scores;
    }
    /// What the file holds decides, not what it is called.
    Json extra() const {
        return table == nullptr ? Json::object() : Json{{"fingerprint", table->fingerprint()}};
    }
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    ExternalScores method = read_parameters<ExternalScores>(arguments);
    try {
        if (!method.file.empty() && arguments.files != nullptr)
            method.table = arguments.files->scores(method.file);
    } catch (Error& error) {
        error.add("policy " + arguments.name + ", parameter 'file'");
        throw;
    }
    return std::make_unique<ScoredPolicy<ExternalScores>>(std::move(method));
}

}  // namespace

PolicyInfo scores() {
    return {.name = "scores",
            .summary = "keeps what the scores in a file rank best: scores:file=F.h5",
            .source = "any scorer outside kvtape, such as learned ones; docs/scores-file.md",
            .parameters = parameters_of<ExternalScores>,
            .make = make};
}

}  // namespace kvtape::policies
