#pragma once

#include "model/tokenizer.hpp"
#include "sim/results.hpp"
#include "tools/live/engine.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::live {

/// One line of answers.csv and of cache.csv.
struct AnswerRow {
    std::string policy;      ///< spec
    std::string parameters;  ///< JSON
    Budget budget;
    std::string schedule;
    std::string sequence;
    std::string task;
    int correct = -1;  ///< 1, 0, or -1 where the sequence has no answer to judge by
    std::string answer;
    std::string generated_text;
    /// Index of the first generated token that differs from the recorded run; none where all agree.
    std::optional<std::int64_t> first_divergence;
    /// Mean Kullback-Leibler divergence, in nats, of the next-token distributions from those of the
    /// recorded run over its recorded top logits, at the steps where both runs had read the same
    /// tokens. None where no logits were recorded.
    std::optional<double> kl_mean;
    std::int64_t peak_bytes = 0;
    std::int64_t end_bytes = 0;
    std::int64_t full_bytes = 0;  ///< of the same tokens uncompressed
};

/// Judges an answer against the recorded sequence.
AnswerRow judge(const Result& result,
                const SequenceInfo& recorded,
                const Answer& answer,
                const model::Tokenizer& tokenizer,
                const Shape& shape);

/// answers.csv, cache.csv.
std::string answers_csv(const std::vector<AnswerRow>& rows);
std::string cache_csv(const std::vector<AnswerRow>& rows);

/// The columns of teacher.csv.
inline constexpr std::string_view teacher_header =
    "policy,parameters,budget,schedule,sequence,jaccard,identical";

}  // namespace kvtape::live
