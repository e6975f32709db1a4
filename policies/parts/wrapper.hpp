#pragma once

#include "policies/parts/scored.hpp"
#include "policies/spec.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace kvtape {

/// What most wrappers take.
inline constexpr std::string_view base_that_scores = "one base that scores";

/// The one policy in the parentheses of `wrapper` or, where there are none, `fallback`. More than
/// one is a usage error that says what is `wanted`.
PolicyRun make_base(const Arguments& wrapper,
                    std::string_view fallback,
                    std::string_view wanted = base_that_scores);

/// A usage error that says why a base makes no sense, and what is `wanted`.
[[noreturn]] void refuse_base(const Arguments& wrapper,
                              const std::string& reason,
                              std::string_view wanted = base_that_scores);

/// Who says how many tokens a head keeps.
enum class Allotting {
    by_base,     ///< the base, by its own arithmetic
    by_wrapper,  ///< the wrapper; a base with an arithmetic of its own makes no sense
};

/// The policy in the parentheses of a wrapper, whose scores the wrapper decides by.
class ScoringBase {
  public:
    /// Makes it from the parentheses of `wrapper` or, where there are none, from `fallback`. A base
    /// without scores of its own, or more than one, or one whose arithmetic the wrapper would undo
    /// is a usage error with the reason.
    ScoringBase(const Arguments& wrapper, std::string_view fallback, Allotting allotting);

    const ScoringPolicy* operator->() const { return scoring_; }
    std::string name() const { return std::string(run_.info->name); }
    /// Adds the base, as written and with every parameter, to the echo of the wrapper.
    Json echo(Json values) const;

  private:
    PolicyRun run_;
    const ScoringPolicy* scoring_ = nullptr;  ///< the policy of `run_`
};

/// The parameters of a wrapper, whose spec may name a base.
template <typename Settings>
Settings read_wrapper_parameters(Arguments arguments) {
    arguments.base.clear();
    return read_parameters<Settings>(arguments);
}

/// A policy made of a `Method` (its parameters), a base, and a session
///
///     Wrapping(const Method&, std::unique_ptr<ScoredSession> base, const SessionContext&)
///
/// that decides by what the base's session scored. It needs what the base needs, to which the
/// method may add with `static Needs needs(Needs base)`, and decides once.
template <typename Method, typename Wrapping>
class WrapperPolicy final : public Policy {
  public:
    WrapperPolicy(Method method, ScoringBase base)
        : method_(std::move(method)),
          base_(std::move(base)) {}

    Needs needs() const override {
        if constexpr (requires { Method::needs(Needs{}); })
            return Method::needs(base_->needs());
        else
            return base_->needs();
    }
    Json parameters() const override {
        Json values = echo_parameters(method_);
        if constexpr (requires { method_.extra(); })
            values.update(method_.extra());
        return base_.echo(std::move(values));
    }
    void expect_fit(const Shape& shape) const override {
        base_->expect_fit(shape);
        if constexpr (requires { method_.expect_fit(shape); })
            method_.expect_fit(shape);
    }
    void expect_enough(const Limit& limit, Position context_len) const override {
        base_->expect_enough(limit, context_len);
    }
    std::unique_ptr<Session> start(const SessionContext& context) const override {
        return std::make_unique<Wrapping>(method_, base_->start_scoring(context), context);
    }

  private:
    Method method_;
    ScoringBase base_;
};

}  // namespace kvtape
