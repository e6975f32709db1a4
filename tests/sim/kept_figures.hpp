#pragma once

#include "core/decision.hpp"
#include "tests/support/reference.hpp"
#include "tests/support/synthetic_trace.hpp"

#include <map>
#include <tuple>
#include <vector>

/// Recall and kept mass of a kept set, written down from their definitions in double precision.
namespace kvtape::tests {

/// A figure over the sequences of a task.
struct Mean {
    double sum = 0.0;
    int count = 0;
    double mean() const { return sum / count; }
};

struct Figures {
    Mean kept, recall, weighted, mass;

    void add(const Figures& one) {
        for (Mean Figures::*figure :
             {&Figures::kept, &Figures::recall, &Figures::weighted, &Figures::mass}) {
            (this->*figure).sum += (one.*figure).sum;
            (this->*figure).count += (one.*figure).count;
        }
    }
};

/// What the queries after the context of a trace look at, in double.
class Attention {
  public:
    explicit Attention(const SyntheticTrace& trace) : trace_(trace) {
        for (std::int32_t sequence = 0; sequence < trace.sequences(); ++sequence)
            for (std::int32_t layer = 0; layer < trace.info().shape.layers; ++layer)
                for (std::int32_t head = 0; head < trace.info().shape.kv_heads; ++head)
                    heads_[{sequence, layer, head}] = head_of(sequence, layer, head);
    }

    /// metrics.md, sections 1 and 4, of one sequence.
    Figures figures(std::int32_t sequence, const Decision& kept) const {
        const SequenceInfo& info = trace_.sequence(sequence);
        const Span needle = info.spans.at(0);
        double tokens = 0.0, needles = 0.0, weighted = 0.0, weights = 0.0, mass = 0.0, heads = 0.0;
        for (std::int32_t layer = 0; layer < kept.layers(); ++layer)
            for (std::int32_t head = 0; head < kept.kv_heads(); ++head) {
                const Head& looks = heads_.at({sequence, layer, head});
                double found = 0.0;
                for (const Position token : kept[{layer, head}]) {
                    found += token >= needle.begin && token < needle.end ? 1.0 : 0.0;
                    mass += looks.at[static_cast<std::size_t>(token)];
                }
                for (Position token = info.context_len; token < info.length(); ++token)
                    mass += looks.at[static_cast<std::size_t>(token)];
                tokens += static_cast<double>(kept[{layer, head}].size());
                needles += found;
                weighted += looks.needle * found;
                weights += looks.needle;
                heads += 1.0;
            }
        const double length = needle.end - needle.begin;
        return {.kept = {tokens / (heads * info.context_len), 1},
                .recall = {needles / (heads * length), 1},
                .weighted = {weighted / (weights * length), 1},
                .mass = {mass / heads, 1}};
    }

  private:
    struct Head {
        std::vector<double> at;  ///< mean probability of each token
        double needle = 0.0;     ///< what the queries that produced the answer put on the needle
    };

    Head head_of(std::int32_t sequence, std::int32_t layer, std::int32_t head) const {
        const Shape& shape = trace_.info().shape;
        const SequenceInfo& info = trace_.sequence(sequence);
        const LayerData& data = trace_.layer(sequence, layer);
        const Span needle = info.spans.at(0);
        const auto recorded = std::ssize(info.query_positions);
        Head found{.at = std::vector<double>(info.tokens.size())};
        double rows = 0.0, answers = 0.0;
        for (std::int32_t g = head * shape.group(); g < (head + 1) * shape.group(); ++g)
            for (std::ptrdiff_t row = 0; row < recorded; ++row) {
                const Position own = info.query_positions[static_cast<std::size_t>(row)];
                if (own < info.context_len)
                    continue;
                std::vector<double> logits;
                for (Position token = 0; token <= own; ++token)
                    logits.push_back(
                        shape.softmax_scale *
                        reference::dot(
                            data.queries.data() + (g * recorded + row) * shape.head_dim,
                            data.keys.data() + (head * info.length() + token) * shape.head_dim,
                            shape.head_dim));
                const std::vector<double> shares = reference::softmax(logits);
                const bool answering = own >= info.prompt_len - 1 && own < info.length() - 1;
                rows += 1.0;
                answers += answering ? 1.0 : 0.0;
                for (std::size_t token = 0; token < shares.size(); ++token)
                    found.at[token] += shares[token];
                for (Position token = needle.begin; answering && token < needle.end; ++token)
                    found.needle += shares[static_cast<std::size_t>(token)];
            }
        for (double& share : found.at)
            share /= rows;
        found.needle /= answers;
        return found;
    }

    const SyntheticTrace& trace_;
    std::map<std::tuple<std::int32_t, std::int32_t, std::int32_t>, Head> heads_;
};

}  // namespace kvtape::tests
