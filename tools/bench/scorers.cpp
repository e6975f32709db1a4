#include "tools/bench/scorers.hpp"

#include "core/error.hpp"
#include "core/query_moments.hpp"
#include "policies/spec.hpp"
#include "tools/bench/random_tensor.hpp"

#include <cmath>
#include <numeric>

namespace kvtape::bench {
namespace {

/// Well above the last cache of two cores.
constexpr double least_bytes_of_a_share = 64 << 20;

/// Every channel pair turns, at the frequencies of Llama 2.
Rotation rotation_of(const Shape& shape) {
    Rotation rotation{.rotary_dim = shape.head_dim / 2 * 2};
    for (std::int32_t i = 0; i < rotation.rotary_dim; i += 2)
        rotation.inv_freq.push_back(std::pow(1e4, -static_cast<double>(i) / shape.head_dim));
    return rotation;
}

/// The tensors of one layer and views of them.
class RandomLayer {
  public:
    RandomLayer(const LayerSize& size, int threads)
        : size_(size),
          cache_(tensor(2 * size.shape.kv_heads, size.tokens, size.shape.head_dim, 1, threads)),
          queries_(tensor(size.shape.query_heads, size.window, size.shape.head_dim, 3, threads)),
          column_sums_(tensor(size.shape.query_heads, size.tokens, 1, 4, threads)),
          positions_(static_cast<std::size_t>(size.tokens)) {
        std::iota(positions_.begin(), positions_.end(), 0);
        describe_queries();
    }

    /// The heads with what `needs` asks for and nothing else.
    std::vector<HeadView> heads(const Needs& needs) const {
        const Eigen::Index tokens = size_.tokens, dim = size_.shape.head_dim;
        const Eigen::Index group = size_.shape.group();
        const Position window = std::min(needs.window, size_.window);
        std::vector<HeadView> views;
        for (Eigen::Index head = 0; head < size_.shape.kv_heads; ++head) {
            const auto part = [&](bool wanted, Eigen::Index place) {
                return wanted ? view(cache_.data() + place * tokens * dim, tokens, dim)
                              : view(nullptr, 0, dim);
            };
            views.push_back(
                {.id = {0, static_cast<std::int32_t>(head)},
                 .positions = positions_,
                 .keys = part(needs.keys, head),
                 .values = part(needs.values, size_.shape.kv_heads + head),
                 .observed = {.positions =
                                  std::span(positions_).last(static_cast<std::size_t>(window)),
                              .queries = view(queries_.data() + head * group * size_.window * dim,
                                              group * window,
                                              dim),
                              .logsumexp = {}},
                 .column_sums = view(column_sums_.data() + head * group * tokens,
                                     needs.column_sums ? group : 0,
                                     tokens),
                 .statistics = {
                     .mean = view(
                         means_.data() + head * group * dim, needs.statistics ? group : 0, dim),
                     .covariance = view(covariances_.data() + head * group * dim * dim,
                                        needs.statistics ? group * dim : 0,
                                        dim)}});
        }
        return views;
    }

    /// W_o, random too; empty unless needed.
    std::vector<float> output_projection(const Needs& needs, int threads) const {
        if (!needs.output_projection)
            return {};
        return tensor(
            size_.shape.query_heads, size_.shape.hidden_size, size_.shape.head_dim, 5, threads);
    }

    /// Keys and values.
    std::span<const float> cache() const { return cache_; }

  private:
    /// The statistics are those of the recorded queries, as if these were not turned yet.
    void describe_queries() {
        const Eigen::Index dim = size_.shape.head_dim;
        const std::vector<Position> first(static_cast<std::size_t>(size_.window));
        const Turns turns(rotation_of(size_.shape), first);
        for (Eigen::Index head = 0; head < size_.shape.query_heads; ++head) {
            QueryMoments moments(size_.shape.head_dim);
            moments.add(turns,
                        view(queries_.data() + head * size_.window * dim, size_.window, dim));
            const std::vector<float> mean = moments.mean(), covariance = moments.covariance();
            means_.insert(means_.end(), mean.begin(), mean.end());
            covariances_.insert(covariances_.end(), covariance.begin(), covariance.end());
        }
    }

    static std::vector<float> tensor(std::int32_t heads,
                                     Position rows,
                                     std::int32_t columns,
                                     std::uint64_t stream,
                                     int threads) {
        return random_tensor(static_cast<std::size_t>(heads) * static_cast<std::size_t>(rows) *
                                 static_cast<std::size_t>(columns),
                             stream,
                             threads);
    }

    LayerSize size_;
    std::vector<float> cache_;  ///< keys, then values
    std::vector<float> queries_, column_sums_;
    std::vector<float> means_, covariances_;  ///< of the queries, per query head
    std::vector<Position> positions_;
};

/// Seconds of one observation and decisions at `budgets` evenly spaced limits.
double replay_seconds(const Setting& setting,
                      const PolicyRun& run,
                      const SessionContext& context,
                      const LayerView& view,
                      Position budgets) {
    const Times times = measure(setting, [&] {
        const auto session = run.policy->start(context);
        session->observe(view);
        for (Position i = 1; i <= budgets; ++i)
            static_cast<void>(session->decide(
                view.block, {.tokens = context.context_len / (budgets + 1) * i, .ratio = {}}));
    });
    return times.median;
}

/// What a scorer reads when the last queries of the context vote: without voters, column sums stand
/// for the keys then. Values that are merged are read later.
double bytes_read(const Needs& needs, const LayerSize& size) {
    const double tokens = size.tokens;
    const double cache = tokens * size.shape.kv_heads * size.shape.head_dim;
    const double sums = needs.column_sums ? tokens * size.shape.query_heads : 0.0;
    if (needs.column_sums && needs.window == 0)
        return sizeof(float) * sums;
    const bool values = needs.values && !needs.merges;
    return sizeof(float) * (sums + cache * ((needs.keys ? 1 : 0) + (values ? 1 : 0)));
}

/// Whether figures over so many bytes speak of the memory; `row` says so where they do not.
bool leaves_the_caches(Json& row, double bytes) {
    row["bytes"] = static_cast<std::int64_t>(bytes);
    if (bytes >= least_bytes_of_a_share)
        return true;
    row["no_share"] = "too few bytes to leave the caches: a share of a peak needs 64 MiB";
    return false;
}

/// Rows that only another recording has are not made up here.
void expect_measurable(const PolicyRun& run) {
    const Needs needs = run.policy->needs();
    if (needs.repetition || needs.probes || needs.future)
        throw usage_error("benchmarking " + run.spec +
                          ": it reads more than the keys, values, attention statistics and last "
                          "queries of a context; measure it with kvtape bench replay");
}

/// Whether the votes of a window are all that a scorer multiplies. r_kv also looks for similar
/// keys, and how many pairs it compares depends on them.
bool only_votes(const PolicyRun& run) {
    return run.policy->needs().window > 0 && run.info->name != "r_kv";
}

double product_flops(const Needs& needs, const LayerSize& size) {
    return 2.0 * size.shape.query_heads * std::min(needs.window, size.window) *
           static_cast<double>(size.tokens) * size.shape.head_dim;
}

}  // namespace

void bench_scorers(const Setting& setting,
                   const LayerSize& size,
                   const std::vector<std::string>& specs,
                   const Report& report) {
    const RandomLayer layer(size, setting.threads);
    const Peaks peaks = measure_peaks(setting, layer.cache());
    std::vector<Json> measured = peak_rows(setting, peaks);
    leaves_the_caches(measured.front(), static_cast<double>(layer.cache().size_bytes()));
    for (const Json& row : measured)
        report(row);
    for (const std::string& spec : specs) {
        const PolicyRun run = make_policy(spec);
        expect_measurable(run);
        const Needs needs = run.policy->needs();
        const std::vector<HeadView> heads = layer.heads(needs);
        const std::vector<float> projection = layer.output_projection(needs, setting.threads);
        const Eigen::Index width = Eigen::Index{size.shape.query_heads} * size.shape.head_dim;
        const LayerView view{.layer = 0,
                             .block = {0, size.tokens, false},
                             .heads = heads,
                             .output_projection = kvtape::view(
                                 projection.data(), std::ssize(projection) / width, width)};
        const SessionContext context{.shape = size.shape,
                                     .rotation = rotation_of(size.shape),
                                     .context_len = size.tokens,
                                     .prompt_len = size.tokens,
                                     .random = Philox(0),
                                     .threads = setting.threads};
        const Times times = measure(setting, [&] { run.policy->start(context)->observe(view); });
        const double bytes = bytes_read(needs, size);
        Json result = row("score " + spec, setting, times);
        result["tokens"] = size.tokens;
        result["bytes_per_second"] = bytes / times.median;
        const bool shared = leaves_the_caches(result, bytes);
        if (shared)
            result["share_of_read_bandwidth"] = bytes / times.median / peaks.read_bytes_per_second;
        result["seconds_with_1_budget"] = replay_seconds(setting, run, context, view, 1);
        if (!needs.merges)  // budgets would share nothing but the score
            result["seconds_with_32_budgets"] = replay_seconds(setting, run, context, view, 32);
        if (only_votes(run)) {
            result["flops_per_second"] = product_flops(needs, size) / times.median;
            if (shared)
                result["share_of_fma_peak"] =
                    product_flops(needs, size) / times.median / peaks.flops_per_second;
        }
        report(result);
    }
}

}  // namespace kvtape::bench
