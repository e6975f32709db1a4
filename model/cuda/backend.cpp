#include "model/backend.hpp"

#include "core/error.hpp"
#include "core/half.hpp"
#include "model/cuda/attention.hpp"
#include "model/cuda/device.hpp"
#include "model/cuda/geometry.hpp"
#include "model/cuda/handles.hpp"
#include "model/cuda/kernels.hpp"
#include "model/cuda/linear.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace kvtape::model {
namespace {

using namespace cuda;

struct CudaWeight final : Weight {
    explicit CudaWeight(DeviceMemory data) : memory(std::move(data)) {}
    DeviceMemory memory;
};

const void* memory_of(const Weight& weight) {
    return static_cast<const CudaWeight&>(weight).memory.get();
}

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::size_t bytes_of(std::size_t count, ElementType type) {
    return count * static_cast<std::size_t>(kvtape::bytes_of(type));
}

/// One GPU, one stream, in order. To be used from the thread that made it.
class CudaBackend final : public Backend {
  public:
    CudaBackend(ElementType type, int device)
        : type_(type),
          device_(device),
          stream_(make_stream()),
          linear_(type) {}

    std::string name() const override { return "cuda"; }
    std::string description() const override;
    ElementType element_type() const override { return type_; }

    Buffer allocate(std::size_t bytes) override;
    void upload(void* device, std::span<const std::byte> host) override;
    void download(std::span<std::byte> host, const void* device) override;
    void clear(void* device, std::size_t bytes) override;
    void synchronize() override;
    std::unique_ptr<Weight> prepare(std::span<const std::byte> stored,
                                    ElementType type,
                                    std::int64_t rows,
                                    std::int64_t columns) override;

    void embed(std::span<const std::int32_t> tokens, const Weight& table, Activations out) override;
    void rms_norm(Activations x, const Weight& weight, float epsilon, Activations out) override;
    void linear(Activations x, const Weight& weight, const Weight* bias, Activations out) override;
    void rope(Activations x,
              std::int32_t head_dim,
              std::span<const double> inverse_frequencies,
              double scale,
              Position first) override;
    void append(Activations keys,
                Activations values,
                const Shape& shape,
                CacheLayer cache) override;
    void gather(const void* from,
                std::span<const std::int64_t> rows,
                std::size_t row_bytes,
                void* to) override;
    void attend(const Attention& attention) override;
    void swiglu(Activations gate, Activations up, Activations out) override;
    void add(Activations x, Activations y) override;
    std::vector<float> to_host(const void* device, std::size_t count) override;

  private:
    /// `memory`, of at least `bytes`; what it held is lost when it has to grow.
    static void* at_least(DeviceMemory& memory, std::size_t& held, std::size_t bytes);

    ElementType type_;
    int device_;
    Stream stream_;
    Linear linear_;
    DeviceMemory tokens_;
    std::size_t token_bytes_ = 0;
    DeviceMemory rows_;
    std::size_t row_bytes_ = 0;
    DeviceMemory frequencies_;
    std::size_t frequency_bytes_ = 0;
    std::vector<double> uploaded_frequencies_;
};

Elements elements(Activations x) {
    return {x.data, x.rows, x.columns};
}

std::string CudaBackend::description() const {
    cudaDeviceProp properties{};
    int driver = 0;
    check(cudaGetDeviceProperties(&properties, device_), "describing the GPU");
    check(cudaDriverGetVersion(&driver), "describing the driver");
    return std::string(properties.name) + ", compute capability " +
           std::to_string(properties.major) + "." + std::to_string(properties.minor) + ", CUDA " +
           version_text(CUDART_VERSION) + ", driver for CUDA " + version_text(driver) +
           ", cuBLASLt " + std::to_string(cublasLtGetVersion());
}

Buffer CudaBackend::allocate(std::size_t bytes) {
    return {cuda::allocate(bytes).release(), bytes, [](void* memory) noexcept {
                static_cast<void>(cudaFree(memory));
            }};
}

void CudaBackend::upload(void* device, std::span<const std::byte> host) {
    const std::string doing = "copying " + std::to_string(host.size()) + " bytes to the GPU";
    check(cudaMemcpyAsync(device, host.data(), host.size(), cudaMemcpyHostToDevice, stream_.get()),
          doing);
    check(cudaStreamSynchronize(stream_.get()), doing);
}

void CudaBackend::download(std::span<std::byte> host, const void* device) {
    const std::string doing = "copying " + std::to_string(host.size()) + " bytes from the GPU";
    check(cudaMemcpyAsync(host.data(), device, host.size(), cudaMemcpyDeviceToHost, stream_.get()),
          doing);
    check(cudaStreamSynchronize(stream_.get()), doing);
}

void CudaBackend::clear(void* device, std::size_t bytes) {
    check(cudaMemsetAsync(device, 0, bytes, stream_.get()), "clearing GPU memory");
}

void CudaBackend::synchronize() {
    check(cudaStreamSynchronize(stream_.get()), "waiting for the GPU");
}

std::unique_ptr<Weight> CudaBackend::prepare(std::span<const std::byte> stored,
                                             ElementType type,
                                             std::int64_t rows,
                                             std::int64_t columns) {
    const auto count = static_cast<std::size_t>(rows * columns);
    if (stored.size() != bytes_of(count, type))
        throw internal_error("preparing a weight of " + std::to_string(count) + " " +
                             std::string(name_of(type)) + " elements: got " +
                             std::to_string(stored.size()) + " bytes");
    DeviceMemory memory = cuda::allocate(stored.size());
    upload(memory.get(), stored);
    if (type != type_) {
        DeviceMemory converted = cuda::allocate(bytes_of(count, type_));
        convert(type, memory.get(), type_, converted.get(), rows * columns, stream_.get());
        synchronize();
        memory = std::move(converted);
    }
    auto weight = std::make_unique<CudaWeight>(std::move(memory));
    weight->rows = rows;
    weight->columns = columns;
    return weight;
}

void* CudaBackend::at_least(DeviceMemory& memory, std::size_t& held, std::size_t bytes) {
    if (held < bytes) {
        memory.reset();
        held = 0;
        memory = cuda::allocate(bytes);
        held = bytes;
    }
    return memory.get();
}

void CudaBackend::embed(std::span<const std::int32_t> tokens,
                        const Weight& table,
                        Activations out) {
    for (const std::int32_t token : tokens)
        if (token < 0 || token >= table.rows)
            throw internal_error("embedding the token " + std::to_string(token) +
                                 ": the table has " + std::to_string(table.rows) + " rows");
    void* device = at_least(tokens_, token_bytes_, tokens.size_bytes());
    upload(device, std::as_bytes(tokens));
    cuda::embed(type_,
                static_cast<const std::int32_t*>(device),
                memory_of(table),
                elements(out),
                stream_.get());
}

void CudaBackend::rms_norm(Activations x, const Weight& weight, float epsilon, Activations out) {
    cuda::rms_norm(type_, elements(x), memory_of(weight), epsilon, out.data, stream_.get());
}

void CudaBackend::linear(Activations x, const Weight& weight, const Weight* bias, Activations out) {
    linear_.run({.x = x.data,
                 .weight = memory_of(weight),
                 .bias = bias != nullptr ? memory_of(*bias) : nullptr,
                 .out = out.data,
                 .rows = x.rows,
                 .inputs = weight.columns,
                 .outputs = weight.rows},
                stream_.get());
}

void CudaBackend::rope(Activations x,
                       std::int32_t head_dim,
                       std::span<const double> inverse_frequencies,
                       double scale,
                       Position first) {
    void* device = at_least(frequencies_, frequency_bytes_, inverse_frequencies.size_bytes());
    if (!std::equal(inverse_frequencies.begin(),
                    inverse_frequencies.end(),
                    uploaded_frequencies_.begin(),
                    uploaded_frequencies_.end())) {
        uploaded_frequencies_.clear();
        upload(device, std::as_bytes(inverse_frequencies));
        uploaded_frequencies_.assign(inverse_frequencies.begin(), inverse_frequencies.end());
    }
    cuda::rope(type_,
               elements(x),
               {.inverse_frequencies = static_cast<const double*>(device),
                .pairs = static_cast<std::int32_t>(inverse_frequencies.size()),
                .head_dim = head_dim,
                .first = first,
                .scale = scale},
               stream_.get());
}

/// The slots as kernels get them. A write or read beyond one would be found late or never on a GPU.
Slots slots_of(const CacheLayer& cache, std::int64_t rows) {
    if (cache.slots.size() > most_kv_heads)
        throw device_error("attention with " + std::to_string(cache.slots.size()) +
                           " KV heads: the cuda backend takes up to " +
                           std::to_string(most_kv_heads) + "; use the cpu backend");
    Slots slots{};
    for (std::size_t head = 0; head < cache.slots.size(); ++head) {
        const CacheSlot& slot = cache.slots[head];
        if (slot.held + rows > slot.capacity)
            throw internal_error("using the cache up to entry " + std::to_string(slot.held + rows) +
                                 ": it has " + std::to_string(slot.capacity));
        slots.of_head[head] = {.begin = slot.begin,
                               .capacity = static_cast<std::int32_t>(slot.capacity),
                               .held = slot.held};
    }
    return slots;
}

void CudaBackend::append(Activations keys,
                         Activations values,
                         const Shape& shape,
                         CacheLayer cache) {
    const Slots slots = slots_of(cache, keys.rows);
    const auto side = [&](void* data) {
        return CacheSide{
            .data = data, .slots = slots, .heads = shape.kv_heads, .head_dim = shape.head_dim};
    };
    cuda::append(type_, elements(keys), side(cache.keys), stream_.get());
    cuda::append(type_, elements(values), side(cache.values), stream_.get());
}

void CudaBackend::gather(const void* from,
                         std::span<const std::int64_t> rows,
                         std::size_t row_bytes,
                         void* to) {
    void* device = at_least(rows_, row_bytes_, rows.size_bytes());
    upload(device, std::as_bytes(rows));
    cuda::gather(from,
                 static_cast<const std::int64_t*>(device),
                 std::ssize(rows),
                 static_cast<std::int64_t>(row_bytes / sizeof(std::uint32_t)),
                 to,
                 stream_.get());
}

void CudaBackend::attend(const Attention& attention) {
    const Shape& shape = attention.shape;
    if (!supports_head_dim(shape.head_dim))
        throw device_error("attention with head_dim " + std::to_string(shape.head_dim) +
                           ": the cuda backend needs a multiple of 8 up to " +
                           std::to_string(max_head_dim) + "; use the cpu backend");
    const AttentionArguments arguments{.queries = attention.queries.data,
                                       .keys = attention.cache.keys,
                                       .values = attention.cache.values,
                                       .outputs = attention.outputs.data,
                                       .logsumexp = attention.logsumexp,
                                       .column_sums = attention.column_sums,
                                       .slots = slots_of(attention.cache, attention.queries.rows),
                                       .rows = static_cast<std::int32_t>(attention.queries.rows),
                                       .query_heads = shape.query_heads,
                                       .group = shape.group(),
                                       .head_dim = shape.head_dim,
                                       .first = attention.first,
                                       .window = attention.window,
                                       .column_limit = attention.column_limit,
                                       .scale = static_cast<float>(shape.softmax_scale)};
    cuda::attend(type_, arguments, stream_.get());
    if (attention.column_sums != nullptr)
        cuda::add_column_sums(type_, arguments, stream_.get());
}

void CudaBackend::swiglu(Activations gate, Activations up, Activations out) {
    cuda::swiglu(type_, elements(gate), up.data, out.data, stream_.get());
}

void CudaBackend::add(Activations x, Activations y) {
    cuda::add(type_, elements(x), y.data, stream_.get());
}

std::vector<float> CudaBackend::to_host(const void* device, std::size_t count) {
    std::vector<std::byte> stored(bytes_of(count, type_));
    download(stored, device);
    std::vector<float> values(count);
    decode(type_, stored, values);
    return values;
}

}  // namespace

std::unique_ptr<Backend> cuda_backend(ElementType type, int device) {
    use_device(device);
    return std::make_unique<CudaBackend>(type, device);
}

}  // namespace kvtape::model
