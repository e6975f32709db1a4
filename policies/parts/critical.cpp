#include "policies/parts/critical.hpp"

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/topk.hpp"
#include "policies/parts/finite.hpp"
#include "policies/parts/projected_values.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvtape {
namespace {

/// With the parameter `vnorm` of expected_attention off.
std::string without_value_norm(std::string_view wrapper, const std::string& spec) {
    const Arguments arguments = parse_spec(spec);
    if (arguments.name != "expected_attention")
        return spec;
    for (const auto& [name, value] : arguments.values) {
        if (name != "vnorm")
            continue;
        if (value != "0")
            throw usage_error("policy " + std::string(wrapper) + ": its base has vnorm=" + value +
                              ", so values would count twice; leave vnorm out, or write vnorm=0");
        return spec;
    }
    return spec + (arguments.values.empty() ? ":" : ",") + "vnorm=0";
}

}  // namespace

ScoringBase make_critical_base(Arguments wrapper) {
    if (wrapper.base.rfind("expected_attention", 0) == 0)
        wrapper.base = without_value_norm(wrapper.name, wrapper.base);
    ScoringBase base(wrapper, "snapkv", Allotting::by_wrapper);
    if (base->may_be_negative())
        throw usage_error(
            "policy " + wrapper.name + ": the scores of " + base.name() +
            " may be below zero, so a long value would count against its token; name a "
            "base that scores by attention, such as " +
            wrapper.name + "(snapkv)");
    return base;
}

CriticalScores::CriticalScores(const CriticalStages& stages,
                               std::unique_ptr<ScoredSession> base,
                               const SessionContext& context)
    : stages_(stages),
      base_(std::move(base)),
      context_(context),
      heads_(HeadOrder(context.shape).count()) {}

const CriticalScores::Head& CriticalScores::at(HeadId id) const {
    return heads_[HeadOrder(context_.shape)[id]];
}

void CriticalScores::observe(const LayerView& layer) {
    base_->observe(layer);
    const auto epsilon = static_cast<float>(stages_.epsilon);
    const auto group = static_cast<float>(context_.shape.group());
    const std::size_t first = static_cast<std::size_t>(layer.layer) * layer.heads.size();
    parallel_for(layer.heads.size(), context_.threads, [&](std::size_t i) {
        const HeadView& view = layer.heads[i];
        const Matrix norms = projected_norms(layer, view, context_.shape, Norm::l1);
        const Scores& scores = base_->raw_scores(view.id);
        Head& head = heads_[first + i];
        head.by_base = rank(scores);
        head.products.resize(scores.size());
        for (std::size_t entry = 0; entry < scores.size(); ++entry) {
            float norm = 0.0f;
            for (Eigen::Index g = 0; g < norms.rows(); ++g)
                norm += norms(g, static_cast<Eigen::Index>(entry));
            head.products[entry] = (scores[entry] + epsilon) * (norm / group);
        }
        check_scores(view, head.products);
        head.by_product = rank(head.products);
    });
}

Position CriticalScores::protect(HeadId id, Position tokens, std::vector<char>& kept) const {
    const Position held = base_->held(id);
    const ByRule rule = base_->rule(id, tokens);
    std::fill_n(kept.begin(), rule.first, char{1});
    std::fill_n(kept.rbegin(), rule.last, char{1});
    Position count = std::min(held, rule.first + rule.last);
    const auto sure = static_cast<Position>(std::floor(stages_.stage1 * tokens));
    for (const Position entry : at(id).by_base) {
        if (count >= sure)
            break;
        char& mark = kept[static_cast<std::size_t>(entry)];
        count += mark == 0 ? 1 : 0;
        mark = 1;
    }
    return count;
}

std::vector<Position> CriticalScores::keep(HeadId id, Position tokens) const {
    const std::span<const Position> positions = base_->positions(id);
    std::vector<char> kept(positions.size());
    Position count = protect(id, tokens, kept);
    for (const Position entry : at(id).by_product) {
        if (count >= tokens)
            break;
        char& mark = kept[static_cast<std::size_t>(entry)];
        count += mark == 0 ? 1 : 0;
        mark = 1;
    }
    std::vector<Position> keep;
    keep.reserve(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < positions.size(); ++i)
        if (kept[i] != 0)
            keep.push_back(positions[i]);
    return keep;
}

std::vector<float> CriticalScores::scores(HeadId id, Position tokens) const {
    std::vector<char> kept(static_cast<std::size_t>(base_->held(id)));
    static_cast<void>(protect(id, tokens, kept));
    std::vector<float> shown = at(id).products;
    shown.resize(kept.size(), std::numeric_limits<float>::quiet_NaN());
    for (std::size_t i = 0; i < kept.size(); ++i)
        if (kept[i] != 0)
            shown[i] = std::numeric_limits<float>::infinity();
    return shown;
}

}  // namespace kvtape
