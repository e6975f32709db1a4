#pragma once

#include "core/half.hpp"
#include "core/json.hpp"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

/// Checkpoint directories as tests need them.
namespace kvtape::testing {

/// A fresh directory, removed with everything in it at the end.
class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "kvtape-test-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

struct FloatTensor {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};
using FloatTensors = std::map<std::string, FloatTensor>;

/// A safetensors file around a header that may be anything.
inline std::string safetensors_file(std::string_view header, std::string_view data) {
    const std::uint64_t length = header.size();
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    return bytes.append(header).append(data);
}

/// A well-formed one, its header padded so that tensors are aligned.
inline std::string safetensors_file(const FloatTensors& tensors, ElementType type) {
    Json header = Json::object();
    std::string data;
    for (const auto& [name, tensor] : tensors) {
        std::vector<std::byte> stored(tensor.values.size() *
                                      static_cast<std::size_t>(bytes_of(type)));
        encode(type, tensor.values, stored);
        const std::size_t begin = data.size();
        data.append(reinterpret_cast<const char*>(stored.data()), stored.size());
        header[name] = {{"dtype",
                         type == ElementType::float32   ? "F32"
                         : type == ElementType::float16 ? "F16"
                                                        : "BF16"},
                        {"shape", tensor.shape},
                        {"data_offsets", {begin, data.size()}}};
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return safetensors_file(text, data);
}

}  // namespace kvtape::testing
