#include "tools/workload/workload.hpp"

#include "core/error.hpp"
#include "tools/workload/filler.hpp"

#include <algorithm>
#include <utility>

namespace kvtape::workload {
namespace {

/// FNV-1a: every task and index has a random stream of its own.
std::uint64_t stream_of(const Task& task, std::uint64_t index) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : task.spec + '#' + std::to_string(index))
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return hash;
}

/// A fact and where it stands among the filler, from 0 to 1.
struct Placed {
    double place = 0.0;
    std::size_t fact = 0;
};

std::vector<double> sorted_draws(std::size_t count, Draw& draw) {
    std::vector<double> draws;
    for (std::size_t i = 0; i < count; ++i)
        draws.push_back(draw.uniform());
    std::sort(draws.begin(), draws.end());
    return draws;
}

/// Places all facts at random; facts in order keep it. A given depth holds for the last one that
/// supports the answer.
std::vector<Placed> place(const Facts& facts, std::optional<double> depth, Draw& draw) {
    const std::size_t count = facts.sentences.size();
    const std::size_t pinned = facts.support.back();
    std::vector<Placed> placed;
    if (facts.ordered && depth) {
        for (const double share : sorted_draws(pinned, draw))
            placed.push_back({share * *depth, placed.size()});
        placed.push_back({*depth, pinned});
        for (const double share : sorted_draws(count - pinned - 1, draw))
            placed.push_back({*depth + share * (1.0 - *depth), placed.size()});
        return placed;
    }
    if (facts.ordered) {
        for (const double share : sorted_draws(count, draw))
            placed.push_back({share, placed.size()});
        return placed;
    }
    for (std::size_t fact = 0; fact < count; ++fact) {
        const double drawn = draw.uniform();
        placed.push_back({depth && fact == pinned ? *depth : drawn, fact});
    }
    std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
        return a.place < b.place;
    });
    return placed;
}

/// Writes sentences one after the other and remembers where the facts stand.
class Weaver {
  public:
    Weaver(std::string begin, const Facts& facts) : facts_(facts) {
        document_.context = std::move(begin);
        empty_ = document_.context.size();
        document_.answer = facts.answer;
    }

    void add(const std::string& sentence) {
        if (document_.context.size() > empty_)
            document_.context += ' ';
        document_.context += sentence;
    }

    void add_fact(std::size_t fact) {
        add(facts_.sentences[fact]);
        const std::size_t end = document_.context.size();
        const bool asked =
            std::find(facts_.support.begin(), facts_.support.end(), fact) != facts_.support.end();
        (asked ? document_.needles : document_.distractors)
            .push_back({end - facts_.sentences[fact].size(), end});
    }

    Document take() { return std::move(document_); }

  private:
    const Facts& facts_;
    std::size_t empty_ = 0;
    Document document_;
};

/// Every fact goes to the gap between filler sentences that is nearest to its place, counted in
/// tokens of filler.
Document weave(const std::string& begin,
               const Facts& facts,
               const std::vector<Placed>& placed,
               const std::vector<FillerSentence>& filler) {
    double total = 0.0;
    for (const FillerSentence& sentence : filler)
        total += static_cast<double>(sentence.tokens);
    Weaver weaver(begin, facts);
    auto next = placed.begin();
    double before = 0.0;
    for (const FillerSentence& sentence : filler) {
        const double middle = before + 0.5 * static_cast<double>(sentence.tokens);
        for (; next != placed.end() && next->place * total < middle; ++next)
            weaver.add_fact(next->fact);
        weaver.add(sentence.text);
        before += static_cast<double>(sentence.tokens);
    }
    for (; next != placed.end(); ++next)
        weaver.add_fact(next->fact);
    return weaver.take();
}

}  // namespace

Document make_document(const Lexicon& lexicon,
                       const model::Tokenizer& tokenizer,
                       const Task& task,
                       const DocumentOptions& options,
                       std::uint64_t index) {
    Draw draw(Philox(options.seed, stream_of(task, index)));
    const Facts facts = draw_facts(lexicon, task, draw);
    std::optional<double> depth;
    if (!options.depths.empty())
        depth = options.depths[index % options.depths.size()];
    const std::vector<Placed> placed = place(facts, depth, draw);
    const std::string begin = begin_of_text(tokenizer);

    const auto document_with = [&](const std::vector<FillerSentence>& filler) {
        Document document = weave(begin, facts, placed, filler);
        document.begin = begin.size();
        document.question = fill(lexicon.question, {{"question", facts.question}});
        document.task = task.spec;
        document.seed = options.seed;
        return document;
    };
    const Position least = context_tokens(document_with({}), tokenizer);
    if (least > options.length)
        throw usage_error("making sequence " + std::to_string(index) + " of " + task.spec +
                          ": its needles need a context of at least " + std::to_string(least) +
                          " tokens, --length is " + std::to_string(options.length) +
                          "; ask for a longer context or a smaller task");
    // Whether tokens of sentences simply add up is the tokenizer's affair, so the sum is checked.
    Filler filler(lexicon, tokenizer, draw);
    Position room = options.length - least;
    for (int attempt = 0; attempt < 64; ++attempt) {
        filler.resize(room);
        Document document = document_with(filler.sentences());
        const Position found = context_tokens(document, tokenizer);
        if (found == options.length)
            return document;
        room = std::max(0, room + options.length - found);
    }
    throw usage_error("making sequence " + std::to_string(index) + " of " + task.spec +
                      ": no filler gives a context of exactly " + std::to_string(options.length) +
                      " tokens with this model's tokenizer; ask for another length");
}

}  // namespace kvtape::workload
