#include "trace/fingerprint.hpp"

#include "core/error.hpp"
#include "trace/array.hpp"
#include "trace/schema.hpp"
#include "trace/walk.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <new>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvtape {
namespace {

class Hash {
  public:
    Hash() : state_(XXH3_createState()) {
        if (state_ == nullptr)
            throw std::bad_alloc();
        XXH3_128bits_reset(state_.get());
    }

    void bytes(std::span<const std::byte> data) {
        XXH3_128bits_update(state_.get(), data.data(), data.size());
    }
    void text(std::string_view data) { bytes(std::as_bytes(std::span(data))); }
    void terminated(std::string_view data) {
        text(data);
        text(std::string_view("\0", 1));
    }
    void number(std::int64_t value) { bytes(std::as_bytes(std::span(&value, 1))); }

    std::string digits() const {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
        std::string text;
        for (const unsigned char byte : canonical.digest) {
            text += "0123456789abcdef"[byte >> 4];
            text += "0123456789abcdef"[byte & 15];
        }
        return text;
    }

  private:
    struct Free {
        void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
    };
    std::unique_ptr<XXH3_state_t, Free> state_;
};

void add_attributes(const InputGroup& group, Hash& hash) {
    for (const std::string& name : group.attribute_names()) {
        if (std::find(schema::not_hashed.begin(), schema::not_hashed.end(), name) !=
            schema::not_hashed.end())
            continue;
        hash.terminated(group.path());
        hash.terminated(name);
        hash.terminated(group.raw_attribute(name));
    }
}

void add_array(const InputArray& array, Hash& hash) {
    hash.terminated(array.path());
    hash.number(static_cast<std::int64_t>(array.dimensions().size()));
    for (const std::int64_t size : array.dimensions())
        hash.number(size);
    array.read_in_order([&](std::size_t, std::span<const std::byte> bytes) { hash.bytes(bytes); });
}

}  // namespace

std::string fingerprint_of(const std::shared_ptr<const InputFile>& file) {
    return fingerprint_of(file, [](const std::string&, const Error& error) { throw error; });
}

std::string fingerprint_of(const std::shared_ptr<const InputFile>& file, const Damaged& damaged) {
    Hash hash;
    for (const FoundGroup& found : walk(file)) {
        add_attributes(found.group, hash);
        for (const std::string& name : found.arrays) {
            try {
                add_array(found.group.array(name), hash);
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::format)
                    throw;
                damaged(found.group.child_path(name), error);
            }
        }
    }
    return hash.digits();
}

}  // namespace kvtape
