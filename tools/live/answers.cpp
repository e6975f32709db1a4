#include "tools/live/answers.hpp"

#include "sim/csv.hpp"
#include "tools/recording.hpp"
#include "tools/workload/document.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace kvtape::live {
namespace {

/// The first index at which two lists differ, or none.
std::optional<std::int64_t> divergence(std::span<const std::int32_t> a,
                                       std::span<const std::int32_t> b) {
    const auto [first, second] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    if (first == a.end() && second == b.end())
        return std::nullopt;
    return first - a.begin();
}

/// KL(p || q) of two softmax distributions over the same ids, given by their logits.
double divergence_of_logits(std::span<const double> p, std::span<const double> q) {
    const auto log_sum = [](std::span<const double> logits) {
        const double largest = *std::max_element(logits.begin(), logits.end());
        double sum = 0.0;
        for (const double logit : logits)
            sum += std::exp(logit - largest);
        return largest + std::log(sum);
    };
    const double p_norm = log_sum(p), q_norm = log_sum(q);
    double sum = 0.0;
    for (std::size_t i = 0; i < p.size(); ++i)
        sum += std::exp(p[i] - p_norm) * ((p[i] - p_norm) - (q[i] - q_norm));
    return std::max(sum, 0.0);
}

std::optional<double> mean_divergence(const SequenceInfo& recorded,
                                      const Answer& answer,
                                      std::optional<std::int64_t> diverged) {
    const auto top = static_cast<std::size_t>(recorded.top_logits);
    const std::size_t same =
        diverged ? static_cast<std::size_t>(*diverged) + 1 : answer.tokens.size();
    const std::size_t steps =
        std::min({same, answer.logits.size(), static_cast<std::size_t>(recorded.generated())});
    if (top == 0 || steps == 0)
        return std::nullopt;
    double sum = 0.0;
    for (std::size_t step = 0; step < steps; ++step) {
        std::vector<double> then, now;
        for (std::size_t i = step * top; i < (step + 1) * top; ++i) {
            const auto id = static_cast<std::size_t>(recorded.logits_top_ids[i]);
            then.push_back(static_cast<double>(recorded.logits_top[i]));
            now.push_back(static_cast<double>(answer.logits[step][id]));
        }
        sum += divergence_of_logits(then, now);
    }
    return sum / static_cast<double>(steps);
}

}  // namespace

AnswerRow judge(const Result& result,
                const SequenceInfo& recorded,
                const Answer& answer,
                const model::Tokenizer& tokenizer,
                const Shape& shape) {
    AnswerRow row{.policy = result.policy,
                  .parameters = result.parameters,
                  .budget = result.budget,
                  .schedule = result.schedule,
                  .sequence = recorded.name,
                  .task = recorded.task,
                  .answer = recorded.answer,
                  .generated_text = as_utf8(tokenizer.decode(answer.tokens)),
                  .first_divergence = {},
                  .kl_mean = {},
                  .peak_bytes = answer.peak_bytes,
                  .end_bytes = answer.end_bytes};
    if (!recorded.answer.empty())
        row.correct = workload::is_right(row.generated_text, recorded.answer) ? 1 : 0;
    const auto then =
        std::span(recorded.tokens).subspan(static_cast<std::size_t>(recorded.prompt_len));
    row.first_divergence = divergence(then, answer.tokens);
    row.kl_mean = mean_divergence(recorded, answer, row.first_divergence);
    row.full_bytes = (recorded.prompt_len + std::ssize(answer.tokens)) * shape.layers *
                     shape.kv_heads * shape.entry_bytes();
    return row;
}

std::string answers_csv(const std::vector<AnswerRow>& rows) {
    Csv csv(
        "policy,parameters,budget,schedule,sequence,task,correct,answer,generated_text,"
        "first_divergence,kl_mean");
    for (const AnswerRow& row : rows) {
        csv.field(row.policy)
            .field(row.parameters)
            .field(row.budget.text())
            .field(row.schedule)
            .field(row.sequence)
            .field(row.task)
            .field(std::int64_t{row.correct})
            .field(row.answer)
            .field(row.generated_text);
        if (row.first_divergence)
            csv.field(*row.first_divergence);
        else
            csv.field(std::string_view());
        csv.field(row.kl_mean).end_row();
    }
    return csv.text();
}

std::string cache_csv(const std::vector<AnswerRow>& rows) {
    Csv csv("policy,parameters,budget,schedule,sequence,task,peak_bytes,end_bytes,full_bytes");
    for (const AnswerRow& row : rows)
        csv.field(row.policy)
            .field(row.parameters)
            .field(row.budget.text())
            .field(row.schedule)
            .field(row.sequence)
            .field(row.task)
            .field(row.peak_bytes)
            .field(row.end_bytes)
            .field(row.full_bytes)
            .end_row();
    return csv.text();
}

}  // namespace kvtape::live
