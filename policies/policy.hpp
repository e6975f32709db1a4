#pragma once

#include "core/budget.hpp"
#include "core/decision.hpp"
#include "core/json.hpp"
#include "core/philox.hpp"
#include "core/rotation.hpp"
#include "core/types.hpp"
#include "policies/arguments.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape {

/// Which queries may vote on what is kept.
enum class QuerySource {
    agnostic,  ///< the last queries of the context
    question,  ///< the queries of the question
    oracle,    ///< every query after the context, question and answer: sees the future
};
std::string_view name_of(QuerySource source);

/// The queries that vote in one KV head, one run of rows per query head of its group.
struct Observation {
    std::span<const Position> positions = {};  ///< n, ascending
    /// [group * n, head_dim], after RoPE, unscaled; query head major
    MatrixView queries = no_rows();
    /// Natural-log row normalisers [group * n] of the full attention rows; empty when the rows saw
    /// nothing but the entries of this view and can be normalised over them.
    std::span<const float> logsumexp = {};
    /// [n, head_dim], after RoPE: the keys of the voters' own tokens, where these are probes
    /// (`Needs::probes`): tokens that attend to the entries of the view and, causally, to each
    /// other, without being held. Empty otherwise.
    MatrixView keys = no_rows();
    /// [group * n, head_dim]: what the rows' full attention gave, before the output projection;
    /// empty unless needed.
    MatrixView outputs = no_rows();
};

/// How the queries of the context are distributed before RoPE, per query head of a group: those at
/// positions from `Needs::statistics_from` to the end of the context.
struct QueryStatistics {
    MatrixView mean = no_rows();        ///< [group, head_dim]
    MatrixView covariance = no_rows();  ///< [group * head_dim, head_dim], centred, over the count
};

/// Queries of a second pass in which the model repeated the context piece by piece: those of a
/// piece say what of it is needed to say it again.
struct Repetition {
    std::span<const ReplayChunk> chunks = {};  ///< cover the context in order
    MatrixView queries = no_rows();  ///< [group * rows, head_dim], after RoPE; query head major
    /// [group * rows], natural log, of the logits of the first tokens, the piece of the row, and
    /// what was repeated of it so far.
    std::span<const float> logsumexp = {};
    std::span<const float> hidden_norms = {};  ///< [rows], of the input of the attention block
};

/// What one KV head holds at the end of a block. Owns nothing.
struct HeadView {
    HeadId id;
    /// Ascending; row i of keys and values is positions[i].
    std::span<const Position> positions = {};
    MatrixView keys = no_rows();    ///< [held, head_dim], after RoPE; empty unless needed
    MatrixView values = no_rows();  ///< [held, head_dim]; empty unless needed
    Observation observed = {};      ///< empty unless needed
    /// [group, held]: probability each entry got from all queries so far, per query head; empty
    /// unless needed.
    MatrixView column_sums = no_rows();
    QueryStatistics statistics = {};  ///< empty unless needed
    Repetition repetition = {};       ///< empty unless needed
};

/// One layer at the end of a block: its KV heads in order. Valid during the call alone, or longer
/// for a policy that merges.
struct LayerView {
    std::int32_t layer = 0;
    Block block;
    std::span<const HeadView> heads;
    /// W_o, [hidden_size, query_heads * head_dim]; empty unless needed.
    MatrixView output_projection = no_rows();
};

/// What a policy reads. The driver loads nothing else and refuses, before any work, a run that
/// cannot provide it.
struct Needs {
    bool keys = false;
    bool values = false;
    /// Number of last context queries that vote under `QuerySource::agnostic`; 0 when none do.
    /// Under another source the rows after the context vote instead, here and where `column_sums`
    /// is set.
    Position window = 0;
    bool column_sums = false;
    /// Column sums that the recording does not hold add up rows as they were recorded: normalised
    /// over all tokens, not over what is held.
    bool dense_rows = false;
    /// Reads queries after the context whatever the user chose: results are marked `oracle`.
    bool future = false;
    /// The question votes in every block, whatever the user chose, with its own keys at its final
    /// positions: results are marked `question`.
    bool probes = false;
    /// The context goes through in blocks of that many tokens, with a decision after each, also
    /// where the schedule knows one block; 0 leaves it to the schedule.
    Position block = 0;
    /// In a running model, blocks of at most so many tokens attend to what the decision at their
    /// end leaves of the cache: every layer decides once its keys and values are there, and keeps
    /// those of the block. 0: a block attends first. What is decided is the same where keys and
    /// values are given. Only keys and values can be read.
    Position ahead = 0;
    /// What one layer keeps depends on others: one session serves all layers, in step. Otherwise a
    /// driver may give every layer its own session where several decisions are taken.
    bool across_layers = false;
    /// Decisions may merge entries, for which `decide` reads the keys and values it merges. What
    /// `observe` was shown of each head therefore stays valid until the decisions on it are taken;
    /// a driver that holds one layer at a time gives every layer its own session.
    bool merges = false;
    bool rotation = false;           ///< `SessionContext::rotation`, known
    bool outputs = false;            ///< `Observation::outputs`
    bool statistics = false;         ///< `HeadView::statistics`
    Position statistics_from = 4;    ///< earlier queries do not count
    bool output_projection = false;  ///< `LayerView::output_projection`
    bool repetition = false;         ///< `HeadView::repetition`, of the whole context at once
    bool hidden_norms = false;       ///< `Repetition::hidden_norms` too
};

/// The moments at which a policy is defined, besides the end of the context or of the prompt.
struct Moments {
    bool blocks = false;    ///< after every block of a prompt that comes in pieces
    bool decoding = false;  ///< after every generated token
};

/// The state of a policy over one sequence and one budget or, where one decision is taken, over
/// one sequence and any number of budgets. One thread at a time.
class Session {
  public:
    virtual ~Session() = default;

    /// After a layer attended. Layers come in order, once per block.
    virtual void observe(const LayerView& layer) = 0;

    /// After the last layer of a block: what to keep of what is held. Does not change the session,
    /// so it may be asked for many limits from one observation. Heads that were not observed keep
    /// nothing.
    virtual Decision decide(const Block& block, const Limit& limit) const = 0;

    /// After `decision` was carried out; only where blocks follow. Their views hold what it kept.
    virtual void settle(const Decision& decision) { static_cast<void>(decision); }

    /// The scores behind `decide(..., limit)` for one head, by held entry: +inf for entries kept by
    /// rule, NaN where there is none. Empty for policies that do not score.
    virtual std::vector<float> scores(HeadId head, const Limit& limit) const {
        static_cast<void>(head), static_cast<void>(limit);
        return {};
    }

    /// The decisions of one head at all limits in tokens, after it was observed: for every held
    /// entry the least limit, from 1, at which it is kept (Mattson et al. 1970, stack distance).
    /// Empty where kept sets do not grow with the limit.
    virtual std::vector<Position> survival(HeadId head) const {
        static_cast<void>(head);
        return {};
    }
};

/// What a session is told about the run it serves.
struct SessionContext {
    Shape shape;
    Rotation rotation = {};  ///< of queries and keys
    Position context_len = 0;
    Position prompt_len = 0;
    std::string_view sequence = {};  ///< its name in the trace
    Philox random{0};                ///< the stream of this (policy, sequence)
    int threads = 1;                 ///< a session may use that many inside one call
};

/// A policy with its parameters. Immutable, so threads share it; outlives its sessions.
class Policy {
  public:
    virtual ~Policy() = default;
    /// What this policy needs with these parameters.
    virtual Needs needs() const = 0;
    /// The schedules it is defined for.
    virtual Moments moments() const { return {}; }
    /// Every parameter with the value used, an object with sorted keys.
    virtual Json parameters() const = 0;
    /// Throws a usage error when a parameter names what a model of this shape does not have.
    virtual void expect_fit(const Shape& shape) const { static_cast<void>(shape); }
    /// Throws a usage error when `limit` leaves too little to decide with over a context of that
    /// many tokens.
    virtual void expect_enough(const Limit& limit, Position context_len) const {
        static_cast<void>(limit), static_cast<void>(context_len);
    }
    virtual std::unique_ptr<Session> start(const SessionContext& context) const = 0;
};

/// How the realised token count relates to `Limit::tokens`.
enum class BudgetRule {
    exact,    ///< min(limit, held) in every head
    at_most,  ///< never more
    own,      ///< the method has its own arithmetic; tables show what it really kept
};

/// One line of the table of policies.
struct PolicyInfo {
    std::string_view name = {};
    std::string_view summary = {};
    std::string_view source = {};  ///< paper and section, or repository
    /// What its results are never shown without; empty for most.
    std::string_view caveat = {};
    std::string_view variants = {};  ///< values of `compat` and what they change; empty when none
    /// Holds without `compat`; variants follow the arithmetic they are named after.
    BudgetRule budget_rule = BudgetRule::exact;
    /// Whether a smaller limit keeps a subset of a larger one.
    bool nested = true;
    /// Whether it decides by the scores of another policy, named in parentheses.
    bool wraps = false;
    std::vector<Parameter> (*parameters)() = nullptr;
    /// Throws a usage error that names the parameter, what was found and what is allowed.
    std::unique_ptr<const Policy> (*make)(const Arguments& arguments) = nullptr;
};

namespace policies {

/// All policies in file-name order. Written by CMake from the folder (cmake/Table.cmake).
std::span<const PolicyInfo> all();

}  // namespace policies

}  // namespace kvtape
