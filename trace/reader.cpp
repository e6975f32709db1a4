#include "trace/reader.hpp"

#include "core/error.hpp"
#include "core/half.hpp"
#include "trace/array.hpp"
#include "trace/fingerprint.hpp"
#include "trace/root.hpp"
#include "trace/schema.hpp"
#include "trace/sequence_reader.hpp"

#include <mutex>
#include <optional>
#include <utility>

namespace kvtape {
namespace {

class FileTrace final : public Trace {
  public:
    FileTrace(std::shared_ptr<const InputFile> file, Unfinished unfinished, int threads)
        : file_(std::move(file)),
          root_(InputGroup::root(file_)),
          threads_(threads) {
        read_version(root_, schema::trace_mark);
        const bool complete = read_complete(root_, unfinished);
        info_ = read_trace_info(root_, complete);
        for (std::string& name : sequence_names(root_, complete)) {
            InputGroup group = root_.group(schema::sequences).group(name);
            if (complete || is_finished(group, info_.shape))
                slots_.push_back({std::move(group), nullptr, {}});
        }
    }

    const TraceInfo& info() const override { return info_; }
    std::int32_t sequences() const override { return static_cast<std::int32_t>(slots_.size()); }
    const SequenceInfo& sequence(std::int32_t index) const override { return *slot(index).info; }
    LayerParts stored(std::int32_t index) const override { return slot(index).stored; }

    void load(std::int32_t index,
              std::int32_t layer,
              const LayerParts& parts,
              LayerData& out) const override {
        expect_layer(layer);
        const std::shared_ptr<const Layers> layers = opened_layers(index);
        read_layer((*layers)[static_cast<std::size_t>(layer)], info_.shape, parts, out, threads_);
    }

    void verify() const override {
        for (std::int32_t index = 0; index < sequences(); ++index)
            slot(index);
        if (!info_.complete || !file_->unguarded())
            return;
        const std::string found = fingerprint_of(file_);
        if (found != info_.fingerprint)
            root_.fail("has fingerprint " + info_.fingerprint + ", but its content gives " + found +
                       ": it was changed or damaged; copy it again or make it anew");
    }

    bool has_output_projections() const override {
        for (std::int32_t layer = 0; layer < info_.shape.layers; ++layer)
            if (!projection(layer))
                return false;
        return true;
    }

    std::vector<float> output_projection(std::int32_t layer) const override {
        expect_layer(layer);
        const std::optional<InputArray> array = projection(layer);
        if (!array)
            return {};
        std::vector<float> values(static_cast<std::size_t>(array->elements()));
        decode(info_.shape.element_type, array->bytes(), values);
        return values;
    }

  private:
    using Layers = std::vector<LayerArrays>;
    struct Slot {
        InputGroup group;
        std::unique_ptr<const SequenceInfo> info;  ///< loaded when first asked for
        LayerParts stored;
    };

    /// W_o of a layer, its type and shape checked.
    std::optional<InputArray> projection(std::int32_t layer) const {
        if (!root_.has(schema::model))
            return std::nullopt;
        const InputGroup layers = root_.group(schema::model).group(schema::layers);
        const std::string name = schema::layer_name(layer);
        if (!layers.has(name) || !layers.group(name).has(schema::output_projection))
            return std::nullopt;
        InputArray array = layers.group(name).array(schema::output_projection);
        array.expect_type(h5::stored_type(info_.shape.element_type));
        array.expect_shape({info_.shape.hidden_size,
                            std::int64_t{info_.shape.query_heads} * info_.shape.head_dim});
        return array;
    }

    void expect_layer(std::int32_t layer) const {
        if (layer < 0 || layer >= info_.shape.layers)
            throw internal_error("reading layer " + std::to_string(layer) + " of " +
                                 std::to_string(info_.shape.layers));
    }

    const Slot& slot(std::int32_t index) const {
        if (index < 0 || index >= sequences())
            throw internal_error("reading sequence " + std::to_string(index) + " of " +
                                 std::to_string(sequences()));
        const std::lock_guard guard(loading_);
        Slot& found = slots_[static_cast<std::size_t>(index)];
        if (!found.info) {
            open_layers_of(index, found);
            found.stored = parts_of(*opened_);
            found.info = std::make_unique<const SequenceInfo>(read_sequence(found.group));
        }
        return found;
    }

    /// Of one sequence at a time: that of the last call.
    std::shared_ptr<const Layers> opened_layers(std::int32_t index) const {
        const Slot& found = slot(index);
        const std::lock_guard guard(loading_);
        if (opened_index_ != index)
            open_layers_of(index, found);
        return opened_;
    }

    void open_layers_of(std::int32_t index, const Slot& of) const {
        opened_ = std::make_shared<const Layers>(open_layers(of.group, info_.shape));
        opened_index_ = index;
    }

    std::shared_ptr<const InputFile> file_;
    InputGroup root_;
    int threads_;
    TraceInfo info_;
    mutable std::mutex loading_;
    mutable std::vector<Slot> slots_;
    mutable std::int32_t opened_index_ = -1;
    mutable std::shared_ptr<const Layers> opened_;
};

}  // namespace

std::unique_ptr<Trace> open_trace(const std::filesystem::path& path,
                                  Unfinished unfinished,
                                  int threads) {
    return std::make_unique<FileTrace>(InputFile::open(path), unfinished, threads);
}

std::unique_ptr<Trace> open_trace_image(std::span<const std::byte> image, Unfinished unfinished) {
    return std::make_unique<FileTrace>(InputFile::of_image(image, "image"), unfinished, 1);
}

}  // namespace kvtape
