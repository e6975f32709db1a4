#include "trace/check.hpp"

#include "core/error.hpp"
#include "trace/decisions.hpp"
#include "trace/fingerprint.hpp"
#include "trace/reader.hpp"
#include "trace/root.hpp"
#include "trace/schema.hpp"

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

std::int32_t read_decisions(const std::filesystem::path& path) {
    const auto decisions = open_decisions(path, Unfinished::allow);
    for (std::int32_t index = 0; index < decisions->sequences(); ++index)
        for (const std::int32_t layer : decisions->layers(index))
            decisions->load(index, layer);
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
    report.sequences = report.kind == FileKind::trace ? read_trace(path) : read_decisions(path);
    return report;
}

}  // namespace kvtape
