#include "tools/report/strips.hpp"

#include "core/error.hpp"
#include "sim/results.hpp"
#include "tools/report/steps.hpp"
#include "tools/visible_text.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>

namespace kvtape::report {
namespace {

std::string base64(const std::vector<std::uint8_t>& bytes) {
    static constexpr std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t word = 0;
        for (std::size_t j = 0; j < 3; ++j)
            word = word << 8 | (j < left ? bytes[i + j] : 0u);
        for (std::size_t j = 0; j < 4; ++j)
            text += j <= left ? digits[word >> (18 - 6 * j) & 63u] : '=';
    }
    return text;
}

/// Bits of a token's code under a schedule.
unsigned bits_of(const std::string& schedule) {
    return schedule == "prefill" || schedule == "prompt" ? 1 : 4;
}

/// The four-bit code of a token that leaves at the end of `block`.
unsigned time_code(const Block& block, Position prompt, Position tokens) {
    if (block.end <= prompt)
        return 1u + static_cast<unsigned>(std::min(11, 12 * (block.end - 1) / prompt));
    return 13u +
           static_cast<unsigned>(std::min(2, 3 * (block.end - prompt - 1) / (tokens - prompt)));
}

/// What the page shows, chosen so that it fits.
struct Choice {
    std::vector<std::size_t> cells;      ///< with decisions
    std::vector<std::size_t> sequences;  ///< of Recall::sequences
    std::vector<std::size_t> heads;      ///< layer * heads + head, ascending
};

/// Sequences, the first of every task before the second of any.
std::vector<std::size_t> by_turns(const Recall& recall) {
    std::vector<std::size_t> turn(recall.sequences.size()), seen(recall.tasks.size(), 0);
    for (std::size_t i = 0; i < turn.size(); ++i)
        turn[i] = seen[recall.task_of[i]]++;
    std::vector<std::size_t> order(turn.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return turn[a] < turn[b];
    });
    return order;
}

/// Heads, those that read the needle most first.
std::vector<std::size_t> by_weight(const Recall& recall) {
    std::vector<std::size_t> order(recall.needle_weight.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return recall.needle_weight[a] > recall.needle_weight[b];
    });
    return order;
}

/// Bytes that one KV head of a sequence takes, over the cells.
std::size_t bytes_of_head(const Sources& sources, const Steps& steps, std::size_t sequence) {
    std::size_t bytes = 0;
    std::vector<char> counted(steps.has_series.size(), 0);
    for (std::size_t i = 0; i < sources.files.size(); ++i) {
        const auto& decisions = sources.files[i].decisions;
        if (decisions == nullptr)
            continue;
        const auto place = place_of(*decisions, sources.recall.sequences[sequence]);
        if (!place)
            continue;
        const auto tokens = static_cast<std::size_t>(decisions->tokens(*place));
        const std::size_t series = sources.recall.cells[i].series;
        if (steps.has_series[series] != 0) {
            bytes += counted[series] != 0 ? 0 : tokens + 3;
            counted[series] = 1;
            continue;
        }
        bytes += 3 + (tokens * bits_of(sources.recall.cells[i].schedule) + 23) / 24 * 4;
    }
    return bytes;
}

Choice choose(const Sources& sources, const Steps& steps, const StripLimits& limits) {
    Choice choice;
    for (std::size_t i = 0; i < sources.files.size(); ++i)
        if (sources.files[i].decisions != nullptr)
            choice.cells.push_back(i);
    choice.heads = by_weight(sources.recall);
    std::size_t used = 0;
    for (const std::size_t sequence : by_turns(sources.recall)) {
        const std::size_t a_head = bytes_of_head(sources, steps, sequence);
        if (a_head == 0)
            continue;
        if (choice.sequences.empty())
            choice.heads.resize(
                std::clamp<std::size_t>(limits.bytes / a_head, 1, choice.heads.size()));
        else if (used + a_head * choice.heads.size() > limits.bytes)
            break;
        used += a_head * choice.heads.size();
        choice.sequences.push_back(sequence);
    }
    std::sort(choice.heads.begin(), choice.heads.end());
    std::sort(choice.sequences.begin(), choice.sequences.end());
    return choice;
}

/// The codes of one KV head. `evicted_at` is its row of the layer.
std::string codes_of(std::span<const std::int32_t> evicted_at,
                     const std::vector<Block>& blocks,
                     Position prompt,
                     unsigned bits) {
    std::vector<std::uint8_t> packed((evicted_at.size() * bits + 7) / 8, 0);
    const auto tokens = static_cast<Position>(evicted_at.size());
    for (std::size_t token = 0; token < evicted_at.size(); ++token) {
        const std::int32_t block = evicted_at[token];
        if (block < 0)
            continue;
        const unsigned code =
            bits == 1 ? 1u : time_code(blocks[static_cast<std::size_t>(block)], prompt, tokens);
        packed[token * bits / 8] |= static_cast<std::uint8_t>(code << (token * bits % 8));
    }
    return base64(packed);
}

/// Where the answer begins: the first generated token, or the end.
Position prompt_of(const std::vector<Block>& blocks, Position tokens) {
    for (const Block& block : blocks)
        if (block.decoding && block.end - block.begin == 1)
            return std::max(1, block.begin);
    return std::max(1, tokens);
}

/// Puts the codes of one cell into `heads`, `[head][cell]`; a layer that the file lacks stays null.
void add_codes(const Sources& sources,
               const Choice& choice,
               std::size_t sequence,
               std::size_t i,
               Json& heads) {
    const DecisionFile& file = *sources.files[choice.cells[i]].decisions;
    const auto place = place_of(file, sources.recall.sequences[sequence]);
    if (!place)
        return;
    const auto kv_heads = static_cast<std::size_t>(sources.recall.heads);
    const auto tokens = static_cast<std::size_t>(file.tokens(*place));
    const std::vector<Block>& blocks = file.sequence(*place).blocks;
    const Position prompt = prompt_of(blocks, file.tokens(*place));
    const unsigned bits = bits_of(sources.recall.cells[choice.cells[i]].schedule);
    const std::vector<std::int32_t>& layers = file.layers(*place);
    std::optional<std::int32_t> loaded;
    LayerFate fate;
    for (std::size_t j = 0; j < choice.heads.size(); ++j) {
        const auto layer = static_cast<std::int32_t>(choice.heads[j] / kv_heads);
        const std::size_t head = choice.heads[j] % kv_heads;
        if (!std::binary_search(layers.begin(), layers.end(), layer) ||
            static_cast<std::int32_t>(head) >= file.kv_heads(*place))
            continue;
        if (loaded != layer)
            fate = file.load(*place, layer);
        loaded = layer;
        const std::span<const std::int32_t> all = fate.evicted_at;
        heads[j][i] = codes_of(all.subspan(head * tokens, tokens), blocks, prompt, bits);
    }
}

/// `[head][cell]` of one sequence; what cannot be read stays null and becomes a note, once a file.
Json codes_of_sequence(Sources& sources,
                       const Steps& steps,
                       const Choice& choice,
                       std::size_t sequence) {
    Json heads(choice.heads.size(), Json(choice.cells.size(), Json()));
    for (std::size_t i = 0; i < choice.cells.size(); ++i) {
        const std::size_t cell = choice.cells[i];
        if (sources.files[cell].decisions == nullptr ||
            steps.has_series[sources.recall.cells[cell].series] != 0)
            continue;
        try {
            add_codes(sources, choice, sequence, i, heads);
        } catch (const Error& error) {
            sources.notes.push_back("Decisions of " + sources.recall.cells[cell].policy + " at " +
                                    sources.recall.cells[cell].budget +
                                    " are left out from sequence " +
                                    sources.recall.sequences[sequence] + " on: " + error.what());
            sources.files[cell].decisions = nullptr;
        }
    }
    return heads;
}

Json spans_of(const SequenceInfo& sequence, SpanKind kind) {
    Json list = Json::array();
    for (const Span& span : sequence.spans)
        if (span.kind == kind)
            list.push_back({span.begin, span.end});
    return list;
}

/// Tokens of a sequence, by the first file that holds it.
Position tokens_of(const Sources& sources, std::size_t sequence) {
    for (const CellFile& file : sources.files)
        if (file.decisions != nullptr)
            if (const auto place = place_of(*file.decisions, sources.recall.sequences[sequence]))
                return file.decisions->tokens(*place);
    return 0;
}

Json about(const Sources& sources, std::size_t sequence, const StripLimits& limits) {
    const Recall& recall = sources.recall;
    Json json{{"name", visible_text(recall.sequences[sequence])},
              {"task", recall.task_of[sequence]},
              {"tokens", tokens_of(sources, sequence)},
              {"words", Json::array()}};
    for (std::int32_t i = 0; sources.trace != nullptr && i < sources.trace->sequences(); ++i) {
        const SequenceInfo& info = sources.trace->sequence(i);
        if (info.name != recall.sequences[sequence])
            continue;
        json["context"] = info.context_len;
        json["prompt"] = info.prompt_len;
        json["needles"] = spans_of(info, SpanKind::needle);
        json["distractors"] = spans_of(info, SpanKind::distractor);
        json["answer"] = token_text(info.answer, 512);
        json["generated"] = token_text(info.generated_text, 512);
        for (std::size_t token = 0; token < info.tokens.size(); ++token) {
            const auto begin = static_cast<std::size_t>(info.text_offsets[token]);
            const auto end = static_cast<std::size_t>(info.text_offsets[token + 1]);
            json["words"].push_back(
                token_text(std::string_view(info.text).substr(begin, end - begin), limits.text));
        }
    }
    return json;
}

void note_left_out(Sources& sources, const Choice& choice) {
    const Recall& recall = sources.recall;
    const std::size_t heads = recall.needle_weight.size();
    if (choice.sequences.size() < recall.sequences.size())
        sources.notes.push_back("Token strips show " + std::to_string(choice.sequences.size()) +
                                " of " + std::to_string(recall.sequences.size()) +
                                " sequences, to keep the page small");
    if (choice.heads.size() < heads)
        sources.notes.push_back("Token strips show the " + std::to_string(choice.heads.size()) +
                                " of " + std::to_string(heads) +
                                " KV heads that read the needle most, to keep the page small");
}

}  // namespace

std::string token_text(std::string_view text, std::size_t limit) {
    if (text.size() <= limit)
        return visible_text(text);
    std::size_t cut = limit;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0u) == 0x80u)
        --cut;
    return visible_text(text.substr(0, cut)) + "… (" + std::to_string(text.size()) + " bytes)";
}

Json strips(Sources& sources, const StripLimits& limits) {
    Steps steps = planned_steps(sources);
    const Choice choice = choose(sources, steps, limits);
    if (choice.sequences.empty())
        return {};
    note_left_out(sources, choice);
    Json json{{"cells", choice.cells},
              {"bits", Json::array()},
              {"heads", Json::array()},
              {"sequences", Json::array()},
              {"codes", Json::array()},
              {"steps", Json::array()},
              {"first", decide_steps(sources, steps, choice.sequences, choice.heads)}};
    for (const Budget& budget : steps.budgets)
        json["steps"].push_back(step_name(sources, budget));
    for (const std::size_t cell : choice.cells)
        json["bits"].push_back(bits_of(sources.recall.cells[cell].schedule));
    for (const std::size_t head : choice.heads)
        json["heads"].push_back({head / static_cast<std::size_t>(sources.recall.heads),
                                 head % static_cast<std::size_t>(sources.recall.heads)});
    for (const std::size_t sequence : choice.sequences) {
        json["sequences"].push_back(about(sources, sequence, limits));
        json["codes"].push_back(codes_of_sequence(sources, steps, choice, sequence));
    }
    return json;
}

}  // namespace kvtape::report
