#include "trace/scores.hpp"

#include "core/error.hpp"
#include "trace/array.hpp"
#include "trace/fingerprint.hpp"
#include "trace/schema.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace kvtape {
namespace {

class ScoreFile final : public ScoreTable {
  public:
    ScoreFile(std::shared_ptr<const InputFile> file, const Trace& trace)
        : file_(std::move(file)),
          sequences_(open(trace)),
          fingerprint_(fingerprint_of(file_)) {
        for (std::int32_t i = 0; i < trace.sequences(); ++i)
            for (std::int32_t layer = 0; layer < trace.info().shape.layers; ++layer)
                check(trace, trace.sequence(i), layer);
    }

    std::vector<float> layer(std::string_view sequence, std::int32_t layer) const override {
        return array(std::string(sequence), layer).numbers<float>();
    }
    const std::string& fingerprint() const override { return fingerprint_; }

  private:
    InputGroup open(const Trace& trace) const {
        const InputGroup root = InputGroup::root(file_);
        if (!root.has_attribute(schema::scores_mark))
            root.fail(std::string("has no attribute ") + schema::scores_mark +
                      ": not a file of scores (docs/scores-file.md)");
        const std::string version = root.text(schema::scores_mark);
        if (!version.starts_with("1."))
            root.fail("has scores of version '" + version.substr(0, 40) +
                      "'; this kvtape reads version 1.x");
        const std::string belongs = root.text(schema::trace_fingerprint);
        if (!trace.info().complete || belongs != trace.info().fingerprint)
            root.fail("belongs to the trace " + belongs.substr(0, 40) + ", not to this one (" +
                      (trace.info().complete ? trace.info().fingerprint : "unfinished") +
                      "); score this trace");
        return root.group(schema::sequences);
    }

    InputArray array(const std::string& sequence, std::int32_t layer) const {
        return sequences_.group(sequence)
            .group(schema::layers)
            .group(schema::layer_name(layer))
            .array(schema::scores);
    }

    void check(const Trace& trace, const SequenceInfo& sequence, std::int32_t layer) const {
        const InputArray scores = array(sequence.name, layer);
        scores.expect_type(h5::stored_type(ElementType::float32));
        scores.expect_shape({trace.info().shape.kv_heads, sequence.length()});
        const std::vector<float> numbers = scores.numbers<float>();
        const auto bad =
            std::find_if(numbers.begin(), numbers.end(), [](float x) { return !std::isfinite(x); });
        if (bad != numbers.end())
            scores.fail("has a score that is not finite, of KV head " +
                        std::to_string((bad - numbers.begin()) / sequence.length()) +
                        " at position " +
                        std::to_string((bad - numbers.begin()) % sequence.length()) +
                        "; scores are finite numbers, higher is kept first");
    }

    std::shared_ptr<const InputFile> file_;
    InputGroup sequences_;
    std::string fingerprint_;
};

}  // namespace

std::shared_ptr<const ScoreTable> open_scores(const std::filesystem::path& path,
                                              const Trace& trace) {
    return std::make_shared<ScoreFile>(InputFile::open(path), trace);
}

}  // namespace kvtape
