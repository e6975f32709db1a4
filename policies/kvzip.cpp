#include "core/exp.hpp"
#include "core/kernels.hpp"
#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/finite.hpp"
#include "policies/parts/heads.hpp"
#include "policies/parts/parameters.hpp"
#include "policies/parts/projected_values.hpp"

#include <algorithm>
#include <limits>

namespace kvtape::policies {
namespace {

using Index = Eigen::Index;

/// What a model attends to when it has to say its context again is what it needs of it. A token is
/// worth the most attention that any query of its piece's repetition gives it; all layers and heads
/// compete for one budget.
struct KvZip {
    bool plus = false;
    bool layerwise = false;

    void fields(auto& field) {
        field("plus",
              plus,
              Switch{},
              "kvzip+: attention times the projected value, over the length of the input");
        field("layerwise", layerwise, Switch{}, "every layer keeps the same number of tokens");
    }
    Needs needs() const {
        return {.keys = true,
                .values = plus,
                .across_layers = !layerwise,
                .output_projection = plus,
                .repetition = true,
                .hidden_norms = plus};
    }
};

constexpr Position sinks = 4;

/// Largest over the rows of one query head of scale * q . k - normaliser (- ln of the input's
/// length), for the keys of a piece.
void largest_logits(const HeadView& head,
                    const ReplayChunk& chunk,
                    Index query_head,
                    double scale,
                    std::span<const float> shifts,
                    std::span<float> largest) {
    constexpr Index rows_at_once = 132;
    const Index dim = head.keys.cols(), rows = std::ssize(shifts);
    const Index all = head.repetition.chunks.back().first + head.repetition.chunks.back().count;
    const Index first = query_head * all + chunk.first;
    const MatrixView keys(head.keys.data() + chunk.begin * head.keys.outerStride(),
                          chunk.end - chunk.begin,
                          dim,
                          Eigen::OuterStride<>(head.keys.outerStride()));
    const Packed packed = Packed::transposed(keys);
    std::fill(largest.begin(), largest.end(), -std::numeric_limits<float>::infinity());
    Matrix logits(std::min(rows_at_once, rows), keys.rows());
    for (Index begin = 0; begin < rows; begin += rows_at_once) {
        const Index count = std::min(rows_at_once, rows - begin);
        const Matrix scaled =
            head.repetition.queries.middleRows(first + begin, count) * static_cast<float>(scale);
        multiply(view(scaled), packed, mutable_view(logits.data(), count, logits.cols()));
        for (Index row = 0; row < count; ++row) {
            const float* line = logits.data() + row * logits.cols();
            const float shift = shifts[static_cast<std::size_t>(begin + row)];
            for (std::size_t j = 0; j < largest.size(); ++j)
                largest[j] = std::max(largest[j], line[j] - shift);
        }
    }
}

/// The scores of one KV head.
std::vector<float> score(const KvZip& method,
                         const LayerView& layer,
                         const HeadView& head,
                         const Shape& shape) {
    check_repetition(head);
    const Repetition& repetition = head.repetition;
    std::vector<float> scores(head.positions.size());
    const Matrix norms = method.plus ? projected_norms(layer, head, shape, Norm::l2) : Matrix();
    std::vector<float> largest, shifts;
    const std::size_t all = repetition.logsumexp.size() / static_cast<std::size_t>(shape.group());
    for (const ReplayChunk& chunk : repetition.chunks) {
        const auto begin = static_cast<std::size_t>(chunk.begin);
        largest.resize(static_cast<std::size_t>(chunk.end - chunk.begin));
        for (Index g = 0; g < shape.group(); ++g) {
            const auto rows = static_cast<std::size_t>(chunk.count);
            const auto first = static_cast<std::size_t>(chunk.first);
            const auto own =
                repetition.logsumexp.subspan(static_cast<std::size_t>(g) * all + first, rows);
            shifts.assign(own.begin(), own.end());
            for (std::size_t row = 0; method.plus && row < rows; ++row)
                shifts[row] += static_cast<float>(
                    logarithm(static_cast<double>(repetition.hidden_norms[first + row])));
            largest_logits(head, chunk, g, shape.softmax_scale, shifts, largest);
            exp_shifted(largest, 0.0f);
            for (std::size_t j = 0; j < largest.size(); ++j) {
                // a share, but for rounding
                const float value = method.plus
                                        ? largest[j] * norms(g, chunk.begin + static_cast<Index>(j))
                                        : std::min(largest[j], 1.0f);
                scores[begin + j] = std::max(scores[begin + j], value);
            }
        }
    }
    check_scores(head, scores);
    return scores;
}

class ZipSession final : public Session {
  public:
    ZipSession(const KvZip& method, const SessionContext& context)
        : method_(method),
          context_(context),
          order_(context.shape),
          heads_(order_.count()) {}

    void observe(const LayerView& layer) override {
        parallel_for(layer.heads.size(), context_.threads, [&](std::size_t i) {
            const HeadView& view = layer.heads[i];
            std::vector<float> scores = score(method_, layer, view, context_.shape);
            // The first tokens stand above every score.
            std::fill_n(scores.begin(),
                        std::min<std::size_t>(sinks, scores.size()),
                        std::numeric_limits<float>::infinity());
            heads_[order_[view.id]] = std::move(scores);
        });
        rankings_.clear();
    }

    Decision decide(const Block&, const Limit& limit) const override {
        rank_all();
        Decision decision(context_.shape.layers, context_.shape.kv_heads);
        for (const Ranking& ranking : rankings_) {
            const std::int64_t kept = kept_of(std::ssize(ranking.order), ranking.heads, limit);
            for (std::int64_t place = 0; place < kept; ++place) {
                const Entry& entry = ranking.order[static_cast<std::size_t>(place)];
                decision[entry.id].push_back(entry.position);
            }
        }
        for (std::int32_t layer = 0; layer < context_.shape.layers; ++layer)
            for (std::int32_t head = 0; head < context_.shape.kv_heads; ++head)
                std::sort(decision[{layer, head}].begin(), decision[{layer, head}].end());
        return decision;
    }

    std::vector<float> scores(HeadId head, const Limit&) const override {
        return heads_[order_[head]];
    }

  private:
    struct Entry {
        HeadId id;
        Position position = 0;
    };
    /// Entries that compete with each other, best first; equal ones by layer, head and position.
    struct Ranking {
        std::vector<Entry> order;
        std::int64_t heads = 0;
    };

    /// Of `entries` of so many heads: a ratio drops floor((1 - ratio) * entries) of them.
    static std::int64_t kept_of(std::int64_t entries, std::int64_t heads, const Limit& limit) {
        if (limit.ratio) {
            const Ratio removed{limit.ratio->denominator - limit.ratio->numerator,
                                limit.ratio->denominator};
            return entries - removed.floor_of(entries);
        }
        return std::min(entries, heads * limit.tokens);
    }

    /// One ranking for all layers, or one for each.
    void rank_all() const {
        if (!rankings_.empty())
            return;
        const std::int32_t layers = context_.shape.layers;
        for (std::int32_t layer = 0; layer < layers; layer += method_.layerwise ? 1 : layers)
            rankings_.push_back(ranked(layer, method_.layerwise ? layer + 1 : layers));
    }

    Ranking ranked(std::int32_t first, std::int32_t end) const {
        Ranking ranking;
        std::vector<Entry> entries;
        std::vector<float> scores;
        for (HeadId id{first, 0}; id.layer < end; ++id.layer)
            for (id.head = 0; id.head < context_.shape.kv_heads; ++id.head) {
                const std::vector<float>& own = heads_[order_[id]];
                scores.insert(scores.end(), own.begin(), own.end());
                for (Position position = 0; position < std::ssize(own); ++position)
                    entries.push_back({id, position});
                ranking.heads += own.empty() ? 0 : 1;
            }
        ranking.order.reserve(entries.size());
        for (const Position place : rank(scores))
            ranking.order.push_back(entries[static_cast<std::size_t>(place)]);
        return ranking;
    }

    const KvZip& method_;
    SessionContext context_;
    HeadOrder order_;
    std::vector<std::vector<float>> heads_;
    mutable std::vector<Ranking> rankings_;  ///< made by the first decision
};

class ZipPolicy final : public Policy {
  public:
    explicit ZipPolicy(KvZip method) : method_(method) {}
    Needs needs() const override { return method_.needs(); }
    Json parameters() const override { return echo_parameters(method_); }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<ZipSession>(method_, context);
    }

  private:
    KvZip method_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    return std::make_unique<ZipPolicy>(read_parameters<KvZip>(arguments));
}

}  // namespace

PolicyInfo kvzip() {
    return {.name = "kvzip",
            .summary = "keeps what the model attends to when it repeats its context",
            .source = "Kim et al., arXiv:2505.23416; plus=1: NVIDIA/kvpress 0.5",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<KvZip>,
            .make = make};
}

}  // namespace kvtape::policies
