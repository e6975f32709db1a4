#pragma once

#include "core/types.hpp"
#include "model/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::model {

/// One tensor inside a safetensors file, viewed in place, little endian.
struct StoredTensor {
    std::string type;  ///< the file's name for it: `F32`, `BF16`, ...
    std::vector<std::int64_t> shape;
    std::span<const std::byte> bytes;
};
using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;

/// Checks a whole safetensors file and lists its tensors: header of at most 100 MB, no name twice,
/// known types, sizes that agree with shapes, and ranges that cover the data without overlap or
/// hole. Anything else is a format error that names `what`. The views point into `file`.
StoredTensors parse_safetensors(std::span<const std::byte> file, std::string_view what);

/// The tensors of a Hugging Face directory: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists.
class Checkpoint {
  public:
    /// Whether the tensors cover their files is left to `expect_covered`, so that one that is
    /// missing can be named first.
    static Checkpoint open(const std::filesystem::path& directory);

    /// A format error when tensors of a file overlap or leave a hole.
    void expect_covered() const;
    const std::string& name() const { return what_; }

    struct Tensor {
        ElementType type = ElementType::float32;
        std::span<const std::byte> bytes;
    };
    bool has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
    std::vector<std::string> names() const;
    /// The float tensor `name`, which must have that shape. Lives as long as the checkpoint.
    Tensor tensor(std::string_view name, std::initializer_list<std::int64_t> shape) const;

  private:
    [[noreturn]] void refuse_missing(std::string_view name) const;

    struct File {
        MappedFile content;
        std::string name;
    };

    std::string what_;
    std::vector<File> files_;
    StoredTensors tensors_;
};

}  // namespace kvtape::model
