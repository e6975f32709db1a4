#pragma once

#include "policies/policy.hpp"
#include "tests/support/twins/queries.hpp"
#include "trace/trace.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace kvtape::testing {

/// One layer of a sequence, as a trace holds it.
struct Layer {
    Shape shape;
    std::int32_t number = 0;
    Position context_len = 0;
    Position length = 0;
    std::vector<Position> query_positions;
    LayerData data;
    Rotation rotation = {};
    std::vector<float> output_projection = {};  ///< W_o, [hidden_size, query_heads * head_dim]
    std::vector<ReplayChunk> replay_chunks = {};
};

/// A layer drawn from `random`, all queries recorded, its statistics computed in double precision.
Layer random_layer(const Shape& shape,
                   std::int32_t number,
                   Position context_len,
                   Position length,
                   const Philox& random);

/// Computes `logsumexp`, `column_sums` and `outputs` of `layer` from its keys, values and queries.
void fill_statistics(Layer& layer);

/// Draws a second pass over the context of `layer` in two pieces, its normalisers computed in
/// double precision.
void add_repetition(Layer& layer, const Philox& random);

/// What a policy with `needs` may see of the context of a layer under `source`, and nothing else.
class ContextViews {
  public:
    ContextViews(const Layer& layer, const Needs& needs, QuerySource source);

    LayerView view() const;
    std::span<HeadView> heads() { return heads_; }

  private:
    void observe(const Needs& needs, QuerySource source);
    void describe_queries(Position from);
    void repeat(const Needs& needs);

    const Layer& layer_;
    bool projects_;
    std::vector<Position> positions_;
    std::vector<Position> observed_;
    std::vector<std::vector<float>> queries_;
    std::vector<std::vector<float>> logsumexp_;
    std::vector<reference::QueryDistribution> distributions_;
    std::vector<std::vector<float>> outputs_;
    std::vector<HeadView> heads_;
};

/// How a decision is asked for.
struct Run {
    QuerySource source = QuerySource::agnostic;
    Philox random{0};
    int threads = 1;
};

/// A session of `policy` that has observed all `layers`.
std::unique_ptr<Session> observed_session(const Policy& policy,
                                          std::span<const Layer> layers,
                                          const Run& run = {});

/// One decision at the end of the context.
Decision decide(const Policy& policy,
                std::span<const Layer> layers,
                const Limit& limit,
                const Run& run = {});

/// The limit that `budget` means for a context.
Limit limit_of(std::string_view budget, Position context_len, const Shape& shape);

}  // namespace kvtape::testing
