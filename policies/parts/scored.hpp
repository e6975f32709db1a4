#pragma once

#include "policies/parts/budget.hpp"
#include "policies/parts/heads.hpp"
#include "policies/parts/parameters.hpp"
#include "policies/policy.hpp"

#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace kvtape {

/// How many of the entries of a head are kept whatever their score.
struct ByRule {
    Position first = 0;  ///< the earliest
    Position last = 0;   ///< the latest
};

/// One score for each entry a KV head holds, in order. A shorter list leaves the latest entries
/// without a score; they are never chosen for it. Empty for a policy of rules alone.
using Scores = std::vector<float>;

/// Scores every head once, in `observe`, and cuts the ranking at any number of limits.
class ScoredSession : public Session {
  public:
    explicit ScoredSession(const SessionContext& context);

    void observe(const LayerView& layer) override;
    Decision decide(const Block& block, const Limit& limit) const override;
    std::vector<float> scores(HeadId head, const Limit& limit) const override;
    std::vector<Position> survival(HeadId head) const override;

    // What wrappers ask for, who decide by these scores in another way.

    /// Entries that a head holds.
    Position held(HeadId id) const { return static_cast<Position>(at(id).positions.size()); }
    std::span<const Position> positions(HeadId id) const { return at(id).positions; }
    /// Scores of the entries of a head, in order; the latest may have none.
    const Scores& raw_scores(HeadId id) const { return at(id).scores; }
    /// Which of them are kept by rule when `tokens` are kept.
    ByRule rule(HeadId id, Position tokens) const { return by_rule(tokens, held(id)); }
    /// How many entries of a head this policy by itself keeps.
    Position allowance(HeadId id, const Limit& limit) const {
        return budget(limit, held(id), id.layer);
    }
    /// The `tokens` entries of a head to keep: those by rule, then the best.
    std::vector<Position> keep(HeadId id, Position tokens) const;

  protected:
    const SessionContext& context() const { return context_; }
    /// The scores of every head of the layer, in their order.
    virtual std::vector<Scores> score_layer(const LayerView& layer);
    /// Called for different heads at once.
    virtual Scores score(const HeadView& head) = 0;
    /// How many of the `held` entries of a head of `layer` to keep.
    virtual Position budget(const Limit& limit, Position held, std::int32_t layer) const = 0;
    /// Which of `held` entries are kept by rule; together at most `budget`.
    virtual ByRule by_rule(Position budget, Position held) const = 0;
    const HeadOrder& heads() const { return order_; }

  private:
    struct Head {
        std::vector<Position> positions;
        Scores scores;
        /// Of the scores, best first, and the place of each: made by the first decision.
        mutable std::vector<Position> ranking, places;
    };
    static void make_ranking(const Head& head);
    Head& at(HeadId id) { return heads_[order_[id]]; }
    const Head& at(HeadId id) const { return heads_[order_[id]]; }

    SessionContext context_;
    HeadOrder order_;
    std::vector<Head> heads_;
};

/// A policy whose sessions score, so that others can build on them.
class ScoringPolicy : public Policy {
  public:
    virtual std::unique_ptr<ScoredSession> start_scoring(const SessionContext& context) const = 0;
    /// False for policies of rules alone.
    virtual bool scores() const = 0;
    /// Whether scores may lie below zero, so that weighing them makes no sense.
    virtual bool may_be_negative() const = 0;
    std::unique_ptr<Session> start(const SessionContext& context) const final {
        return start_scoring(context);
    }
};

/// What a `Method` remembers of a head; nothing, unless it says otherwise.
template <typename Method>
struct MemoryOf {
    struct Type {};
};
template <typename Method>
requires requires {
    typename Method::Memory;
}
struct MemoryOf<Method> {
    using Type = typename Method::Memory;
};

/// A policy made of a `Method`: its parameters and
///
///     void fields(auto& field);                                     // parts/parameters.hpp
///     Needs needs() const;
///     Scores score(const HeadView&, const SessionContext&) const;   // one KV head, or
///     std::vector<Scores> score_layer(const LayerView&, const SessionContext&) const;
///
/// and, where they differ from "the best min(limit, held) scores",
///
///     static constexpr bool may_be_negative = true;  // scores may lie below zero
///     Moments moments() const;  // where it also decides block by block, or while decoding
///     ByRule by_rule(Position budget, Position held) const;
///     Position budget(const Limit&, Position held) const;           // or
///     Position budget(const Limit&, Position held, std::int32_t layer, const Shape&) const;
///     struct Memory;                        // what scoring a head leaves for the next block:
///     Scores score(const HeadView&, const SessionContext&, Memory&) const;
///     void expect_fit(const Shape&) const;  // policies/policy.hpp
///     Json extra() const;                   // what its parameters do not tell, for the echo
template <typename Method>
class ScoredPolicy final : public ScoringPolicy {
  public:
    explicit ScoredPolicy(Method method) : method_(std::move(method)) {}

    bool scores() const override {
        return remembers || requires(const HeadView& head) {
            method_.score(head, SessionContext{});
        }
        || requires(const LayerView& layer) {
            method_.score_layer(layer, SessionContext{});
        };
    }
    bool may_be_negative() const override {
        return requires {
            Method::may_be_negative;
        };
    }
    Needs needs() const override { return method_.needs(); }
    Moments moments() const override {
        if constexpr (requires { method_.moments(); })
            return method_.moments();
        else
            return {};
    }
    Json parameters() const override {
        Json values = echo_parameters(method_);
        if constexpr (requires { method_.extra(); })
            values.update(method_.extra());
        return values;
    }
    void expect_fit(const Shape& shape) const override {
        if constexpr (requires { method_.expect_fit(shape); })
            method_.expect_fit(shape);
    }
    std::unique_ptr<ScoredSession> start_scoring(const SessionContext& context) const override {
        return std::make_unique<MethodSession>(method_, context);
    }

  private:
    static constexpr bool remembers = requires { typename Method::Memory; };

    class MethodSession final : public ScoredSession {
      public:
        MethodSession(const Method& method, const SessionContext& context)
            : ScoredSession(context),
              method_(method),
              memory_(heads().count()) {}

      private:
        std::vector<Scores> score_layer(const LayerView& layer) override {
            if constexpr (requires { method_.score_layer(layer, context()); })
                return method_.score_layer(layer, context());
            else
                return ScoredSession::score_layer(layer);
        }
        Scores score(const HeadView& head) override {
            if constexpr (remembers)
                return method_.score(head, context(), memory_[heads()[head.id]]);
            else if constexpr (requires { method_.score(head, context()); })
                return method_.score(head, context());
            else
                return {};
        }
        Position budget(const Limit& limit, Position held, std::int32_t layer) const override {
            if constexpr (requires { method_.budget(limit, held, layer, Shape{}); })
                return method_.budget(limit, held, layer, context().shape);
            else if constexpr (requires { method_.budget(limit, held); })
                return method_.budget(limit, held);
            else
                return tokens_of(Compat::none, limit, held);
        }
        ByRule by_rule(Position budget, Position held) const override {
            if constexpr (requires { method_.by_rule(budget, held); })
                return method_.by_rule(budget, held);
            else
                return {};
        }

        const Method& method_;
        std::vector<typename MemoryOf<Method>::Type> memory_;
    };

    Method method_;
};

/// For `PolicyInfo::make`.
template <typename Method>
std::unique_ptr<const Policy> make_scored(const Arguments& arguments) {
    return std::make_unique<ScoredPolicy<Method>>(read_parameters<Method>(arguments));
}

}  // namespace kvtape
