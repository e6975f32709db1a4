#pragma once

#include "core/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/trace/samples.hpp"
#include "trace/h5.hpp"
#include "trace/reader.hpp"

#include <functional>

namespace kvtape::tests {

/// A sample trace that somebody edits with plain HDF5 before it is read.
class Edited {
  public:
    explicit Edited(const std::function<void(hid_t)>& edit) {
        write_sample(path(), sample_info(), 1);
        const h5::Lock lock;
        const h5::Properties access = h5::file_access(h5::Purpose::write);
        h5::File file(h5::check(H5Fopen(path().c_str(), H5F_ACC_RDWR, access.get()), "editing"));
        edit(file.get());
        REQUIRE(file.close());
    }
    std::filesystem::path path() const { return folder_ / "edited.kvtape.h5"; }

    /// What a reader says that opens the file and reads all of it; "" when it says nothing.
    std::string complaint() const {
        try {
            const auto trace = open_trace(path());
            LayerData data;
            for (std::int32_t index = 0; index < trace->sequences(); ++index) {
                trace->sequence(index);
                for (std::int32_t layer = 0; layer < trace->info().shape.layers; ++layer)
                    trace->load(index, layer, always_recorded, data);
            }
        } catch (const Error& error) {
            CHECK(error.kind() == ErrorKind::format);
            return error.what();
        }
        return "";
    }

  private:
    Folder folder_;
};

inline void remove(hid_t file, const char* path) {
    REQUIRE(H5Ldelete(file, path, H5P_DEFAULT) >= 0);
}

template <typename Value>
void replace_attribute(
    hid_t file, const char* object, const char* name, const h5::Type& type, const Value& value) {
    REQUIRE(H5Adelete_by_name(file, object, name, H5P_DEFAULT) >= 0);
    const h5::Space space(H5Screate(H5S_SCALAR));
    const h5::Attribute attribute(H5Acreate_by_name(
        file, object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    REQUIRE(H5Awrite(attribute.get(), type.get(), &value) >= 0);
}

inline void replace_text(hid_t file,
                         const char* object,
                         const char* name,
                         const std::string& value) {
    const h5::Type type = h5::text_type(value.size());
    REQUIRE(H5Adelete_by_name(file, object, name, H5P_DEFAULT) >= 0);
    const h5::Space space(H5Screate(H5S_SCALAR));
    const h5::Attribute attribute(H5Acreate_by_name(
        file, object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    REQUIRE(H5Awrite(attribute.get(), type.get(), value.c_str()) >= 0);
}

/// A dataset of zeros, or of nothing when it is too large to write.
inline void replace_array(hid_t file,
                          const char* path,
                          const h5::Type& type,
                          std::vector<hsize_t> dimensions,
                          std::vector<hsize_t> chunk = {}) {
    remove(file, path);
    const h5::Space space(
        H5Screate_simple(static_cast<int>(dimensions.size()), dimensions.data(), nullptr));
    const h5::Properties creation(H5Pcreate(H5P_DATASET_CREATE));
    if (!chunk.empty())
        H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data());
    const h5::Dataset dataset(
        H5Dcreate2(file, path, type.get(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT));
    REQUIRE(dataset.valid());
    hsize_t elements = 1;
    for (const hsize_t size : dimensions)
        elements *= size;
    if (elements > 1 << 20)
        return;
    const std::vector<std::byte> zeros(elements * 8);
    REQUIRE(H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data()) >= 0);
}

}  // namespace kvtape::tests
