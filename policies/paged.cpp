#include "core/parallel.hpp"
#include "core/reduce.hpp"
#include "core/topk.hpp"
#include "policies/parts/wrapper.hpp"

#include <algorithm>
#include <limits>

namespace kvtape::policies {
namespace {

/// What an engine that stores its cache in pages can do with a policy: pages of `block` tokens are
/// kept or dropped whole, the best first. As many are kept as the budget holds whole pages, at
/// least one; the last page of the cache may be short but counts as a page. Pages that hold tokens
/// which the base keeps by rule go first: those of the earliest, then from the end backwards.
struct Paged {
    enum class Reduce { max, mean };

    std::int32_t block = 16;
    Reduce reduce = Reduce::max;

    void fields(auto& field) {
        field("block", block, Whole{1, 1 << 20}, "tokens of a page");
        field("reduce", reduce, Choice{"max", "mean"}, "what scores a page: its best token or all");
    }
};

/// The pages of what one head holds, in order.
struct Pages {
    std::vector<Position> begins;  ///< index of the first entry of each, and the number of entries
    Scores scores;
    std::vector<Position> ranking;

    Position count() const { return static_cast<Position>(begins.size()) - 1; }
    /// The page of an entry.
    Position of(Position entry) const {
        const auto after = std::upper_bound(begins.begin(), begins.end(), entry);
        return static_cast<Position>(after - begins.begin()) - 1;
    }
};

float reduced(std::span<const float> scores, Paged::Reduce reduce) {
    // Pages without a scored entry lie in what the base keeps by rule; they come last elsewhere.
    if (scores.empty())
        return std::numeric_limits<float>::lowest();
    if (reduce == Paged::Reduce::max)
        return *std::max_element(scores.begin(), scores.end());
    return static_cast<float>(ordered_sum(scores) / static_cast<double>(scores.size()));
}

Pages pages_of(const Paged& method, std::span<const Position> positions, const Scores& scores) {
    Pages pages;
    const auto held = static_cast<Position>(positions.size());
    for (Position entry = 0; entry < held; ++entry) {
        const auto at = static_cast<std::size_t>(entry);
        if (entry == 0 || positions[at] / method.block != positions[at - 1] / method.block)
            pages.begins.push_back(entry);
    }
    pages.begins.push_back(held);
    const auto scored = static_cast<Position>(scores.size());
    for (Position page = 0; page < pages.count(); ++page) {
        const auto at = static_cast<std::size_t>(page);
        const Position begin = std::min(pages.begins[at], scored);
        const Position end = std::min(pages.begins[at + 1], scored);
        pages.scores.push_back(
            reduced(std::span(scores).subspan(static_cast<std::size_t>(begin),
                                              static_cast<std::size_t>(end - begin)),
                    method.reduce));
    }
    pages.ranking = rank(pages.scores);
    return pages;
}

class PagedSession final : public Session {
  public:
    PagedSession(const Paged& method,
                 std::unique_ptr<ScoredSession> base,
                 const SessionContext& context)
        : method_(method),
          base_(std::move(base)),
          heads_(context.shape),
          threads_(context.threads),
          pages_(heads_.count()) {}

    void observe(const LayerView& layer) override {
        base_->observe(layer);
        parallel_for(layer.heads.size(), threads_, [&](std::size_t i) {
            const HeadId id = layer.heads[i].id;
            pages_[heads_[id]] = pages_of(method_, base_->positions(id), base_->raw_scores(id));
        });
    }

    Decision decide(const Block&, const Limit& limit) const override {
        return heads_.decide(threads_, [&](HeadId id) {
            return base_->held(id) > 0 ? kept(id, limit) : std::vector<Position>();
        });
    }

    /// Every entry shows the score of its page.
    std::vector<float> scores(HeadId id, const Limit& limit) const override {
        const Pages& pages = pages_[heads_[id]];
        std::vector<float> shown(static_cast<std::size_t>(base_->held(id)));
        if (shown.empty())
            return shown;
        const std::vector<bool> by_rule = ruled(id, base_->allowance(id, limit));
        for (std::size_t page = 0; page < pages.scores.size(); ++page)
            std::fill(shown.begin() + pages.begins[page],
                      shown.begin() + pages.begins[page + 1],
                      by_rule[page] ? std::numeric_limits<float>::infinity() : pages.scores[page]);
        return shown;
    }

  private:
    Position room(Position tokens) const { return std::max(1, tokens / method_.block); }

    /// The pages that hold what the base keeps by rule, as many as there is room for.
    std::vector<bool> ruled(HeadId id, Position tokens) const {
        const Pages& pages = pages_[heads_[id]];
        const Position held = base_->held(id);
        std::vector<bool> chosen(static_cast<std::size_t>(pages.count()));
        Position left = room(tokens);
        const auto take = [&](Position page) {
            left -= chosen[static_cast<std::size_t>(page)] ? 0 : 1;
            chosen[static_cast<std::size_t>(page)] = true;
        };
        const ByRule rule = base_->rule(id, tokens);
        const Position first = rule.first > 0 ? pages.of(rule.first - 1) + 1 : 0;
        const Position last = rule.last > 0 ? pages.of(held - rule.last) : pages.count();
        for (Position page = 0; page < first && left > 0; ++page)
            take(page);
        for (Position page = pages.count(); page-- > last && left > 0;)
            take(page);
        return chosen;
    }

    /// Which pages stay.
    std::vector<bool> chosen(HeadId id, Position tokens) const {
        const Pages& pages = pages_[heads_[id]];
        if (tokens >= base_->held(id))
            return std::vector<bool>(static_cast<std::size_t>(pages.count()), true);
        std::vector<bool> chosen = ruled(id, tokens);
        std::ptrdiff_t left = room(tokens) - std::count(chosen.begin(), chosen.end(), true);
        for (const Position page : pages.ranking) {
            if (left <= 0)
                break;
            if (chosen[static_cast<std::size_t>(page)])
                continue;
            chosen[static_cast<std::size_t>(page)] = true;
            --left;
        }
        return chosen;
    }

    std::vector<Position> kept(HeadId id, const Limit& limit) const {
        const Pages& pages = pages_[heads_[id]];
        const std::span<const Position> positions = base_->positions(id);
        const std::vector<bool> chosen = this->chosen(id, base_->allowance(id, limit));
        std::vector<Position> keep;
        for (std::size_t page = 0; page < chosen.size(); ++page)
            if (chosen[page])
                keep.insert(keep.end(),
                            positions.begin() + pages.begins[page],
                            positions.begin() + pages.begins[page + 1]);
        return keep;
    }

    const Paged& method_;
    std::unique_ptr<ScoredSession> base_;
    HeadOrder heads_;
    int threads_;
    std::vector<Pages> pages_;
};

std::unique_ptr<const Policy> make(const Arguments& arguments) {
    return std::make_unique<WrapperPolicy<Paged, PagedSession>>(
        read_wrapper_parameters<Paged>(arguments),
        ScoringBase(arguments, "snapkv", Allotting::by_base));
}

}  // namespace

PolicyInfo paged() {
    return {.name = "paged",
            .summary = "keeps or drops whole pages by the scores of a base: paged(BASE)",
            .source = "what a paged cache can do; cf. ChunkKV, Liu et al., arXiv:2502.00299",
            .budget_rule = BudgetRule::own,
            .nested = false,
            .wraps = true,
            .parameters = parameters_of<Paged>,
            .make = make};
}

}  // namespace kvtape::policies
