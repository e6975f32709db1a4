#include "policies/spec.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/ems_entries.hpp"
#include "tests/support/layer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>

using namespace kvtape;
using namespace kvtape::testing;

namespace {

Limit tokens(Position count) {
    return {count, std::nullopt};
}

std::map<Position, Position> map_of(const std::vector<Absorbed>& absorbed) {
    std::map<Position, Position> map;
    for (const Absorbed& pair : absorbed)
        map[pair.from] = pair.into;
    return map;
}

/// Compares a decision on one head with the twin's step.
void compare(const Decision& decision, HeadId id, const reference::EmsStep& step) {
    std::vector<Position> kept;
    for (const reference::EmsEntry& entry : step.kept)
        kept.push_back(entry.position);
    REQUIRE(decision[id] == kept);
    const Merges& merges = decision.merges(id);
    CHECK(map_of(merges.absorbed) == step.into);
    std::size_t at = 0;
    for (const Position changed : merges.changed) {
        const auto entry = std::find_if(step.kept.begin(), step.kept.end(), [&](const auto& e) {
            return e.position == changed;
        });
        REQUIRE(entry != step.kept.end());
        for (std::size_t c = 0; c < entry->key.size(); ++c, ++at) {
            CHECK(merges.keys[at] == Approx(entry->key[c]).epsilon(1e-4).margin(1e-5));
            CHECK(merges.values[at] == Approx(entry->value[c]).epsilon(1e-4).margin(1e-5));
        }
    }
    CHECK(merges.keys.size() == at);
    CHECK(merges.values.size() == at);
}

/// Draws numbers in the order in which they are asked for.
class Draws {
  public:
    explicit Draws(const Philox& random) : random_(random) {}
    int operator()(int low, int high) {
        return low + static_cast<int>(random_.below(5000000 + asked_++,
                                                    static_cast<std::uint32_t>(high - low + 1)));
    }

  private:
    Philox random_;
    std::uint64_t asked_ = 0;
};

/// Parameters of EMS, drawn, and the spec that says the same.
struct DrawnEms {
    std::string spec = "ems:";
    reference::EmsOptions options;
    bool ragged = false;
    bool pre_rope = false;
    Rotation rotation;
    std::string pool;
    int kernel = 1;

    explicit DrawnEms(Draws& draw) {
        const auto say = [&](const char* name, const auto& value) {
            spec.append(spec.back() == ':' ? "" : ",").append(name).append("=").append(value);
            return value;
        };
        const auto number = [&](const char* name, double value) {
            say(name, std::to_string(value));
            return value;
        };
        const auto count = [&](const char* name, int value) {
            say(name, std::to_string(value));
            return static_cast<std::size_t>(value);
        };
        const auto flag = [&](const char* name) { return count(name, draw(0, 1)) == 1; };
        options.recent = count("window", draw(1, 5));
        if (draw(0, 2) == 0)
            options.recent = count("recent", draw(0, 6));
        options.sinks = count("sinks", draw(0, 2));
        options.alpha = draw(0, 1) == 0 ? number("alpha", draw(0, 4) / 2.0) : 1.0;
        options.gamma = number("gamma", draw(0, 4) / 2.0);
        options.rho = number("rho", draw(5, 10) / 10.0);
        options.tau = number("tau", draw(1, 6) / 10.0);
        options.literal = flag("literal_product");
        options.into_protected = flag("into_protected");
        ragged = flag("ragged");
        pre_rope = flag("pre_rope");
        rotation.interleaved = draw(0, 1) == 1;
        pool = say("pool", std::array{"none", "avg", "max"}[static_cast<std::size_t>(draw(0, 2))]);
        kernel = static_cast<int>(count("kernel", 2 * draw(0, 2) + 1));
    }
};

/// Turns a key as its position demands (`way` 1), or back (-1).
void turn(reference::EmsEntry& entry, const Rotation& rotation, double way) {
    for (std::size_t i = 0; i < rotation.inv_freq.size(); ++i) {
        const double angle = way * entry.position * rotation.inv_freq[i];
        double& x = entry.key[rotation.interleaved ? 2 * i : i];
        double& y = entry.key[rotation.interleaved ? 2 * i + 1 : i + rotation.inv_freq.size()];
        const double turned = x * std::cos(angle) - y * std::sin(angle);
        y = y * std::cos(angle) + x * std::sin(angle);
        x = turned;
    }
}

/// What the twin knows of one head before it decides.
struct TwinHead {
    std::vector<reference::EmsEntry> entries;
    std::vector<double> scores;
    double queries = 0.0, voters = 0.0;
};

TwinHead twin_head(const HeadView& head,
                   const Shape& shape,
                   const DrawnEms& ems,
                   QuerySource source) {
    TwinHead twin{.entries = entries_of(head, shape),
                  .scores = {},
                  .queries = static_cast<double>(head.positions.size()),
                  .voters = static_cast<double>(head.observed.positions.size())};
    for (reference::EmsEntry& entry : twin.entries)
        if (ems.pre_rope)
            turn(entry, ems.rotation, -1.0);
    if (source == QuerySource::question) {
        twin.queries += twin.voters;
        for (reference::EmsEntry& entry : twin.entries)
            entry.global += entry.local;
    }
    if (ems.pool != "none") {
        reference::Row local;
        for (const reference::EmsEntry& entry : twin.entries)
            local.push_back(entry.local);
        local = reference::pool(local, ems.kernel, ems.pool == "avg");
        for (std::size_t i = 0; i < local.size(); ++i)
            twin.entries[i].local = local[i];
    }
    for (const reference::EmsEntry& entry : twin.entries)
        twin.scores.push_back(
            reference::ems_score(entry, twin.queries, twin.voters, ems.options.alpha));
    return twin;
}

/// How many entries each head keeps, and in `margin` how clearly.
std::vector<std::size_t> shares(const std::vector<TwinHead>& heads,
                                const DrawnEms& ems,
                                Position budget,
                                double& margin) {
    const auto each = static_cast<std::size_t>(budget);
    if (!ems.ragged || each < ems.options.sinks + ems.options.recent ||
        each >= heads[0].entries.size())
        return std::vector<std::size_t>(heads.size(), each);
    std::vector<std::vector<double>> scores;
    for (const TwinHead& head : heads)
        scores.push_back(head.scores);
    return reference::ems_shares(scores, each, ems.options, margin);
}

}  // namespace

TEST_CASE("ems agrees with its double-precision twin", "[policies][ems][twin]") {
    int judged = 0, merged = 0, uneven = 0;
    for (int number = 0; number < 1000; ++number) {
        const Philox random(static_cast<std::uint64_t>(number), 91);
        Draws draw(random);
        Shape shape{.layers = 1, .kv_heads = draw(1, 3), .head_dim = draw(2, 6)};
        shape.query_heads = shape.kv_heads * draw(1, 3);
        shape.softmax_scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
        const Position context = draw(1, 60);
        const Layer layer = random_layer(shape, 0, context, context + draw(1, 4), random);
        DrawnEms ems(draw);
        ems.rotation.rotary_dim = shape.head_dim / 2 * 2;
        for (std::int32_t i = 0; i < shape.head_dim / 2; ++i)
            ems.rotation.inv_freq.push_back(std::pow(50.0, -i));
        const PolicyRun run = make_policy(ems.spec);
        const QuerySource source = draw(0, 3) == 0 ? QuerySource::question : QuerySource::agnostic;
        ContextViews views(layer, run.policy->needs(), source);
        const auto session = run.policy->start({.shape = shape,
                                                .rotation = ems.rotation,
                                                .context_len = context,
                                                .prompt_len = layer.length});
        session->observe(views.view());
        std::vector<TwinHead> heads;
        for (const HeadView& head : views.heads())
            heads.push_back(twin_head(head, shape, ems, source));
        for (const Position budget : {1, draw(1, context), (context + 1) / 2, context}) {
            const Decision decision = session->decide({}, tokens(budget));
            double margin = INFINITY;
            const std::vector<std::size_t> share = shares(heads, ems, budget, margin);
            for (std::size_t i = 0; i < heads.size(); ++i) {
                const HeadId id{0, static_cast<std::int32_t>(i)};
                const TwinHead& twin = heads[i];
                INFO(ems.spec << " keeps " << budget << " of " << context << " in KV head " << i);
                const std::vector<float> scores = session->scores(id, tokens(budget));
                for (std::size_t entry = 0; entry < scores.size(); ++entry)
                    if (!std::isinf(scores[entry]))
                        CHECK(scores[entry] == Approx(twin.scores[entry]).epsilon(2e-5));
                reference::EmsStep step{.kept = twin.entries, .into = {}};
                if (budget < context)
                    step = reference::ems_compress(
                        twin.entries, twin.queries, twin.voters, share[i], ems.options);
                if (std::min(margin, step.margin) < 1e-4)
                    continue;
                for (reference::EmsEntry& entry : step.kept)
                    if (ems.pre_rope)
                        turn(entry, ems.rotation, 1.0);
                ++judged;
                merged += step.into.empty() ? 0 : 1;
                uneven += std::cmp_not_equal(share[i], budget) ? 1 : 0;
                compare(decision, id, step);
            }
        }
    }
    CHECK(judged > 4500);
    CHECK(merged > 300);
    CHECK(uneven > 300);
}
