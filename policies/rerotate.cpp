#include "core/error.hpp"
#include "core/parallel.hpp"
#include "policies/parts/unturned.hpp"
#include "policies/parts/wrapper.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

namespace kvtape::policies {
namespace {

/// What its base keeps, numbered anew: as if the cache had no gaps, and the tokens to come went on
/// counting from its end. Attention sees distances alone, so what moves is the kept keys: the one
/// with n younger ones behind it is turned to n + 1 positions before the next token. The latest
/// tokens, when none of them goes, stay as they are.
struct Rerotate {
    void fields(auto&) {}
};

class RerotateSession final : public Session {
  public:
    RerotateSession(std::unique_ptr<Session> base, const SessionContext& context)
        : base_(std::move(base)),
          rotation_(context.rotation),
          threads_(context.threads),
          order_(context.shape),
          heads_(order_.count()) {}

    void observe(const LayerView& layer) override {
        base_->observe(layer);
        for (const HeadView& view : layer.heads) {
            Head& head = heads_[order_[view.id]];
            head.view.emplace(view);
            // New tokens have the phase of their position.
            for (std::size_t i = head.phases.size(); i < view.positions.size(); ++i)
                head.phases.push_back(view.positions[i]);
        }
    }

    Decision decide(const Block& block, const Limit& limit) const override {
        const Decision kept = base_->decide(block, limit);
        Decision decision(kept.layers(), kept.kv_heads(), Merging::yes);
        parallel_for(heads_.size(), threads_, [&](std::size_t i) {
            const Head& head = heads_[i];
            if (!head.view)
                return;
            decision[head.view->id] = kept[head.view->id];
            decision.merges(head.view->id) = turned(head, kept[head.view->id]);
        });
        return decision;
    }

    void settle(const Decision& decision) override {
        base_->settle(decision);
        for (Head& head : heads_) {
            if (!head.view)
                continue;
            const std::vector<Position>& keep = decision[head.view->id];
            std::vector<Position> phases;
            for (std::size_t slot = 0; slot < keep.size(); ++slot)
                phases.push_back(phase(head, keep.size(), slot));
            head.phases = std::move(phases);
            head.view.reset();
        }
    }

    std::vector<float> scores(HeadId id, const Limit& limit) const override {
        return base_->scores(id, limit);
    }

  private:
    struct Head {
        std::optional<HeadView> view;
        std::vector<Position> phases;  ///< the position that each held key is turned to
    };

    /// Of the entry in `slot` of so many that are kept; the latest held precedes the next token.
    static Position phase(const Head& head, std::size_t kept, std::size_t slot) {
        return head.view->positions.back() + 1 - static_cast<Position>(kept - slot);
    }

    Merges turned(const Head& head, const std::vector<Position>& keep) const {
        const HeadView& view = *head.view;
        Merges merges;
        auto held = view.positions.begin();
        for (std::size_t slot = 0; slot < keep.size(); ++slot) {
            held = std::lower_bound(held, view.positions.end(), keep[slot]);
            const auto row = held - view.positions.begin();
            const Position before = head.phases[static_cast<std::size_t>(row)];
            const Position after = phase(head, keep.size(), slot);
            if (after == before)
                continue;
            merges.changed.push_back(keep[slot]);
            const auto key = view.keys.row(row), value = view.values.row(row);
            merges.keys.insert(merges.keys.end(), key.data(), key.data() + key.size());
            merges.values.insert(merges.values.end(), value.data(), value.data() + value.size());
            turn_key(rotation_,
                     after - before,
                     std::span(merges.keys).last(static_cast<std::size_t>(key.size())));
        }
        return merges;
    }

    std::unique_ptr<Session> base_;
    Rotation rotation_;
    int threads_;
    HeadOrder order_;
    std::vector<Head> heads_;
};

class RerotatePolicy final : public Policy {
  public:
    explicit RerotatePolicy(PolicyRun base) : base_(std::move(base)) {}
    Needs needs() const override {
        Needs needs = base_.policy->needs();
        needs.keys = needs.values = needs.merges = needs.rotation = true;
        return needs;
    }
    Moments moments() const override { return {.decoding = base_.policy->moments().decoding}; }
    Json parameters() const override {
        return {{"base", base_.spec}, {"base_parameters", base_.policy->parameters()}};
    }
    void expect_fit(const Shape& shape) const override { base_.policy->expect_fit(shape); }
    void expect_enough(const Limit& limit, Position context_len) const override {
        base_.policy->expect_enough(limit, context_len);
    }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<RerotateSession>(base_.policy->start(context), context);
    }

  private:
    PolicyRun base_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    read_wrapper_parameters<Rerotate>(arguments);
    constexpr std::string_view wanted =
        "one base that decides when asked, layer by layer, and leaves keys as they are, whether it "
        "scores or not";
    PolicyRun base = make_base(arguments, "streaming_llm", wanted);
    const Needs needs = base.policy->needs();
    if (needs.merges || needs.across_layers || needs.block > 0 || needs.ahead > 0)
        refuse_base(
            arguments,
            base.spec + (needs.merges                         ? " changes keys itself"
                         : needs.block > 0 || needs.ahead > 0 ? " decides block by block"
                                                              : " decides over all layers at once"),
            wanted);
    return std::make_unique<RerotatePolicy>(std::move(base));
}

}  // namespace

PolicyInfo rerotate() {
    return {.name = "rerotate",
            .summary = "what a base keeps, its keys turned to gapless positions: rerotate(BASE)",
            .source =
                "the caches of StreamingLLM, Xiao et al., arXiv:2309.17453, section 3.2, and of "
                "Finch, arXiv:2408.00167",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .wraps = true,
            .parameters = parameters_of<Rerotate>,
            .make = make};
}

}  // namespace kvtape::policies
