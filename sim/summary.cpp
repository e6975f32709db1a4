#include "sim/summary.hpp"

#include "core/reduce.hpp"

namespace kvtape {
namespace {

std::optional<double> mean(const std::vector<double>& values) {
    if (values.empty())
        return std::nullopt;
    return ordered_mean(values);
}

/// The defined values of `part` over `items`, in order.
template <typename Item, typename Part>
std::vector<double> defined(const std::vector<Item>& items, const Part& part) {
    std::vector<double> values;
    for (const Item& item : items)
        if (const std::optional<double> value = part(item))
            values.push_back(*value);
    return values;
}

std::optional<Interval> interval(const Bootstrap& bootstrap, const std::vector<double>& values) {
    if (values.empty())
        return std::nullopt;
    return bootstrap.mean(values);
}

std::optional<double> weighted_recall(const std::vector<HeadResult>& heads) {
    std::vector<double> weights, products;
    for (const HeadResult& head : heads)
        if (const std::optional<double> recall = head.needle_recall()) {
            weights.push_back(head.needle_weight);
            products.push_back(head.needle_weight * *recall);
        }
    const double total = ordered_sum(std::span<const double>(weights));
    if (total <= 0.0)
        return std::nullopt;
    return ordered_sum(std::span<const double>(products)) / total;
}

/// The mean over heads of needle_read to the power `keenness`, weighted by m to the power `focus`.
std::optional<double> read_share(const std::vector<HeadResult>& heads, int focus, int keenness) {
    const auto power = [](double base, int exponent) {
        double product = 1.0;
        for (int i = 0; i < exponent; ++i)
            product *= base;
        return product;
    };
    std::vector<double> weights, products;
    for (const HeadResult& head : heads)
        if (head.needle_read) {
            weights.push_back(power(head.needle_weight, focus));
            products.push_back(weights.back() * power(*head.needle_read, keenness));
        }
    const double total = ordered_sum(std::span<const double>(weights));
    if (total <= 0.0)
        return std::nullopt;
    return ordered_sum(std::span<const double>(products)) / total;
}

double ratio(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

SequenceSummary summarise(const std::string& task,
                          const std::vector<HeadResult>& heads,
                          std::int64_t entry_bytes) {
    SequenceSummary summary;
    summary.task = task;
    for (const HeadResult& head : heads) {
        summary.tokens += head.tokens;
        summary.kept += head.kept;
        summary.kept_bytes += head.kept_bytes;
        summary.full_bytes += head.tokens * entry_bytes;
    }
    summary.needle_recall =
        mean(defined(heads, [](const HeadResult& head) { return head.needle_recall(); }));
    summary.needle_recall_weighted = weighted_recall(heads);
    summary.needle_read = read_share(heads, 1, 1);
    summary.needle_recall_readers = read_share(heads, 4, 8);
    summary.needle_intact_heads =
        mean(defined(heads, [](const HeadResult& head) -> std::optional<double> {
            if (head.needle_tokens == 0)
                return std::nullopt;
            return head.needle_kept == head.needle_tokens ? 1.0 : 0.0;
        }));
    summary.mass_kept = mean(defined(heads, [](const HeadResult& head) { return head.mass_kept; }));
    summary.output_error_median =
        mean(defined(heads, [](const HeadResult& head) { return head.output_error_median; }));
    return summary;
}

TaskSummary summarise(const std::vector<SequenceSummary>& sequences, const Bootstrap& bootstrap) {
    using Sequence = SequenceSummary;
    TaskSummary summary;
    summary.sequences = std::ssize(sequences);
    std::int64_t tokens = 0, kept = 0, kept_bytes = 0, full_bytes = 0;
    for (const Sequence& one : sequences) {
        tokens += one.tokens;
        kept += one.kept;
        kept_bytes += one.kept_bytes;
        full_bytes += one.full_bytes;
    }
    summary.kept_ratio = ratio(kept, tokens);
    summary.kept_bytes_ratio = ratio(kept_bytes, full_bytes);
    summary.needle_recall = interval(
        bootstrap, defined(sequences, [](const Sequence& one) { return one.needle_recall; }));
    summary.needle_recall_weighted = interval(
        bootstrap,
        defined(sequences, [](const Sequence& one) { return one.needle_recall_weighted; }));
    summary.needle_intact_heads =
        mean(defined(sequences, [](const Sequence& one) { return one.needle_intact_heads; }));
    summary.mass_kept = mean(defined(sequences, [](const Sequence& one) { return one.mass_kept; }));
    summary.output_error_median =
        mean(defined(sequences, [](const Sequence& one) { return one.output_error_median; }));
    return summary;
}

}  // namespace kvtape
