#include "policies/parts/head_values.hpp"
#include "policies/parts/scored.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvtape::policies {
namespace {

/// Two kinds of heads, told apart by a value that was learned beforehand: retrieval heads keep
/// everything, streaming heads keep the first and the latest tokens. The heads with the lowest
/// values stream, as many as it takes to meet the budget, or a share of them.
struct DuoAttention {
    enum class By { budget, share };

    std::string file = {};
    std::int32_t sinks = 64;
    std::int32_t recent = 256;
    By by = By::budget;
    HeadValues values = {};

    void fields(auto& field) {
        field("file", file, FilePath{}, "value of every head (docs/head-files.md)");
        field("sinks", sinks, Whole{0, 1 << 20}, "first tokens that streaming heads keep");
        field("recent", recent, Whole{0, 1 << 20}, "latest tokens that streaming heads keep");
        field("by",
              by,
              Choice{"budget", "share"},
              "enough heads stream to meet the budget; or the share of heads that it leaves out");
    }

    /// How many of `heads` stream where each holds `held`.
    std::int64_t streaming(std::int64_t heads, Position held, const Limit& limit) const {
        if (by == By::share) {
            const double kept =
                limit.ratio ? limit.ratio->value() : static_cast<double>(limit.tokens) / held;
            return static_cast<std::int64_t>(
                std::nearbyint(static_cast<double>(heads) * (1.0 - kept)));
        }
        const std::int64_t freed = std::max<std::int64_t>(0, std::int64_t{held} - sinks - recent);
        const std::int64_t excess = heads * (std::int64_t{held} - std::min(limit.tokens, held));
        if (excess == 0)
            return 0;
        return freed == 0 ? heads : std::min(heads, (excess + freed - 1) / freed);
    }
};

class DuoSession final : public Session {
  public:
    DuoSession(const DuoAttention& method, const SessionContext& context)
        : method_(method),
          shape_(context.shape),
          heads_(shape_) {
        const std::vector<double> values = method.values.by_kv_head(shape_);
        order_.resize(values.size());
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
            return values[a] < values[b];
        });
        held_.resize(values.size());
    }

    void observe(const LayerView& layer) override {
        for (const HeadView& head : layer.heads)
            held_[heads_[head.id]].assign(head.positions.begin(), head.positions.end());
    }

    Decision decide(const Block&, const Limit& limit) const override {
        Decision decision(shape_.layers, shape_.kv_heads);
        // Layers that take no part hold nothing and neither stream nor count.
        std::vector<std::size_t> taking_part;
        for (const std::size_t head : order_)
            if (!held_[head].empty())
                taking_part.push_back(head);
        if (taking_part.empty())
            return decision;
        const auto held = static_cast<Position>(held_[taking_part.front()].size());
        const std::int64_t streaming = method_.streaming(std::ssize(taking_part), held, limit);
        for (std::size_t i = 0; i < taking_part.size(); ++i) {
            const std::size_t head = taking_part[i];
            decision[heads_.id(head)] =
                static_cast<std::int64_t>(i) < streaming ? ends(held_[head], limit) : held_[head];
        }
        return decision;
    }

  private:
    /// Sinks and recent tokens; by budget never more of them than it holds.
    std::vector<Position> ends(const std::vector<Position>& held, const Limit& limit) const {
        const auto all = static_cast<Position>(held.size());
        const Position most =
            method_.by == DuoAttention::By::budget ? std::min(limit.tokens, all) : all;
        const Position first = std::min(method_.sinks, most);
        const Position last = std::min(method_.recent, most - first);
        std::vector<Position> keep(held.begin(), held.begin() + first);
        keep.insert(keep.end(), held.end() - last, held.end());
        return keep;
    }

    const DuoAttention& method_;
    Shape shape_;
    HeadOrder heads_;
    std::vector<std::size_t> order_;  ///< heads, the lowest value first
    std::vector<std::vector<Position>> held_;
};

class DuoPolicy final : public Policy {
  public:
    explicit DuoPolicy(DuoAttention method) : method_(std::move(method)) {}
    Needs needs() const override { return {}; }
    Json parameters() const override {
        Json values = echo_parameters(method_);
        values.update(method_.values.echo());
        return values;
    }
    void expect_fit(const Shape& shape) const override {
        method_.values.expect_fit(shape, "duo_attention");
    }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<DuoSession>(method_, context);
    }

  private:
    DuoAttention method_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    DuoAttention method = read_parameters<DuoAttention>(arguments);
    method.values = HeadValues::of(arguments, method.file);
    return std::make_unique<DuoPolicy>(std::move(method));
}

}  // namespace

PolicyInfo duo_attention() {
    return {.name = "duo_attention",
            .summary = "retrieval heads keep all, streaming heads the first and latest tokens",
            .source = "Xiao et al., arXiv:2410.10819; head values from a file, none is shipped",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .parameters = parameters_of<DuoAttention>,
            .make = make};
}

}  // namespace kvtape::policies
