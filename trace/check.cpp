#include "trace/check.hpp"

#include "core/error.hpp"
#include "trace/decisions.hpp"
#include "trace/fingerprint.hpp"
#include "trace/reader.hpp"
#include "trace/root.hpp"
#include "trace/schema.hpp"

#include <algorithm>
#include <cstddef>

namespace kvtape {
namespace {

FileKind kind_of(const InputGroup& root) {
    for (const FileKind kind : {FileKind::trace, FileKind::decisions}) {
        const char* mark = kind == FileKind::trace ? schema::trace_mark : schema::decisions_mark;
        if (!root.has_attribute(mark))
            continue;
        read_version(root, mark);
        return kind;
    }
    root.fail("has neither attribute kvtape_trace nor kvtape_decisions: not a file of kvtape");
}

/// Reads what a user of the file would read, except the tensors of a trace, whose checksums the
/// fingerprint has verified; returns the number of sequences.
std::int32_t read_trace(const std::filesystem::path& path) {
    const auto trace = open_trace(path, Unfinished::allow);
    for (std::int32_t index = 0; index < trace->sequences(); ++index)
        trace->sequence(index);
    for (std::int32_t layer = 0; layer < trace->info().shape.layers; ++layer)
        trace->output_projection(layer);
    return trace->sequences();
}

/// The block after which a policy decided last, under the schedule of the file.
std::size_t last_decision(const std::string& schedule, const std::vector<Block>& blocks) {
    if (schedule == "prefill")
        return 0;
    if (schedule.ends_with("+decode"))
        return blocks.size() - 1;
    const auto generated = std::find_if(
        blocks.begin(), blocks.end(), [](const Block& block) { return block.decoding; });
    return static_cast<std::size_t>(std::max<std::ptrdiff_t>(generated - blocks.begin() - 1, 0));
}

/// Context tokens and what is left of them, over layers and KV heads.
struct Amounts {
    std::int64_t all = 0;
    std::int64_t kept = 0;
};

/// Reads every layer of one sequence.
Amounts counted(const DecisionFile& decisions, std::int32_t index) {
    Amounts amounts;
    const std::vector<Block>& blocks = decisions.sequence(index).blocks;
    const std::size_t last = blocks.empty() ? 0 : last_decision(decisions.info().schedule, blocks);
    const Position end = blocks.empty() ? 0 : blocks[last].end, tokens = decisions.tokens(index);
    for (const std::int32_t layer : decisions.layers(index)) {
        const LayerFate fate = decisions.load(index, layer);
        for (std::int32_t head = 0; head < decisions.kv_heads(index); ++head) {
            const auto row = fate.evicted_at.begin() + std::ptrdiff_t{head} * tokens;
            amounts.all += end;
            amounts.kept += std::count_if(row, row + end, [&](std::int32_t block) {
                return block < 0 || block > static_cast<std::int32_t>(last);
            });
        }
    }
    return amounts;
}

/// What an attribute may be: multiples of `step`.
struct Range {
    std::int64_t least = 0;
    std::int64_t most = 0;
    std::int64_t step = 1;

    bool holds(std::int64_t value) const {
        return value >= least && value <= most && value % step == 0;
    }
    std::string text() const {
        std::string words = std::to_string(least);
        if (least != most)
            words += " to " + std::to_string(most);
        return step == 1 ? words : words + " in steps of " + std::to_string(step);
    }
};

/// Recounts what the attributes of every sequence say was kept.
std::int32_t read_decisions(const std::filesystem::path& path, std::vector<Finding>& findings) {
    const auto decisions = open_decisions(path, Unfinished::allow);
    for (std::int32_t index = 0; index < decisions->sequences(); ++index) {
        const DecisionSequence& sequence = decisions->sequence(index);
        const Amounts amounts = counted(*decisions, index);
        const std::string object = std::string("/") + schema::sequences + "/" + sequence.name;
        const auto expect = [&](const char* name, std::int64_t found, const Range& range) {
            if (!range.holds(found))
                findings.push_back({object,
                                    path.string() + ": " + object + " has " + name + " = " +
                                        std::to_string(found) + ", but its layers give " +
                                        range.text()});
        };
        expect(schema::kept_tokens, sequence.kept_tokens, {amounts.kept, amounts.kept});
        const std::int64_t entry = amounts.all > 0 ? sequence.full_bytes / amounts.all : 0;
        const std::int64_t full = entry * amounts.all;
        expect(schema::full_bytes, sequence.full_bytes, {full, full});
        // A policy that only masks tokens holds more than those of what it keeps, in whole keys or
        // values.
        expect(schema::kept_bytes,
               sequence.kept_bytes,
               {entry * amounts.kept, full, std::max<std::int64_t>(1, entry / 2)});
    }
    return decisions->sequences();
}

}  // namespace

FileKind kind_of(const std::filesystem::path& path) {
    return kind_of(InputGroup::root(InputFile::open(path)));
}

CheckReport check_file(const std::filesystem::path& path) {
    CheckReport report;
    {
        const auto file = InputFile::open(path);
        const InputGroup root = InputGroup::root(file);
        report.kind = kind_of(root);
        report.complete = read_complete(root, Unfinished::allow);
        report.fingerprint = root.text(schema::fingerprint);
        report.recomputed =
            fingerprint_of(file, [&](const std::string& object, const Error& error) {
                report.findings.push_back({object, error.what()});
            });
    }
    const std::string name = path.string();
    if (!report.clean()) {
        report.recomputed.clear();
        return report;
    }
    if (!report.complete)
        report.findings.push_back({"/", name + ": / has complete = 0: its writer did not finish"});
    else if (report.recomputed != report.fingerprint)
        report.findings.push_back({"/",
                                   name + ": / has fingerprint " + report.fingerprint +
                                       ", but its content gives " + report.recomputed});
    report.sequences =
        report.kind == FileKind::trace ? read_trace(path) : read_decisions(path, report.findings);
    return report;
}

}  // namespace kvtape
