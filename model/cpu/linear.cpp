#include "model/cpu/linear.hpp"

#include "core/half.hpp"
#include "core/parallel.hpp"
#include "model/cpu/rows.hpp"

#include <algorithm>
#include <utility>

namespace kvtape::model::cpu {
namespace {

/// Output columns that are packed, and handed to a thread, together.
constexpr std::int64_t block_columns = 4 * Packed::panel_columns;
/// Rows whose sums stay in the second-level cache, and the fewest that are worth packing for.
constexpr std::int64_t most_rows = 512;
constexpr std::int64_t fewest_rows = 64;
/// Rows that meet all panels of a block before the next ones; a multiple of the kernels' own tiles.
constexpr std::int64_t tile_rows = 48;
/// Pieces of work for every thread, so that they end together.
constexpr std::int64_t items_per_thread = 4;

/// Weight rows [first, first + count) and of these the inputs [begin, begin + depth).
struct Piece {
    std::int64_t first = 0, count = 0;
    std::int64_t begin = 0, depth = 0;
};

std::int64_t pieces_of(std::int64_t columns, std::int64_t depth) {
    return (columns + depth - 1) / depth;
}

/// Both factors as float32.
class FloatFactors {
  public:
    using Panels = Packed;
    /// Inputs that are contracted before the next ones are packed.
    static constexpr std::int64_t slice_depth = 256;
    static Packed& panels_of(LinearScratch::Desk& desk) { return desk.packed; }

    FloatFactors(ElementType type, Activations x, int, LinearScratch&)
        : inputs_(type, x.data, x.rows * x.columns),
          columns_(x.columns) {}

    bool fits(const Packed&) const { return true; }

    void pack(const CpuWeight& weight,
              const Piece& piece,
              std::vector<float>& decoded,
              Packed& panels) const {
        decoded.resize(static_cast<std::size_t>(piece.count * piece.depth));
        for (std::int64_t i = 0; i < piece.count; ++i)
            weight.read_row(
                piece.first + i,
                {decoded.data() + i * piece.depth, static_cast<std::size_t>(piece.depth)},
                piece.begin);
        panels.assign_transposed(view(decoded.data(), piece.count, piece.depth));
    }

    void multiply(std::int64_t row,
                  const Piece& piece,
                  const Packed& panels,
                  MutableMatrixView out) const {
        const MatrixView rows(inputs_.data() + row * columns_ + piece.begin,
                              out.rows(),
                              piece.depth,
                              Eigen::OuterStride<>(columns_));
        if (piece.begin == 0)
            kvtape::multiply(rows, panels, out);
        else
            multiply_add(rows, panels, out);
    }

  private:
    Floats inputs_;
    std::int64_t columns_;
};

/// Both factors as bfloat16.
class Bfloat16Factors {
  public:
    using Panels = Bfloat16Panels;
    static constexpr std::int64_t slice_depth = 1024;
    static Bfloat16Panels& panels_of(LinearScratch::Desk& desk) { return desk.panels; }

    Bfloat16Factors(ElementType, Activations x, int threads, LinearScratch& scratch)
        : layout_(bfloat16_layout()),
          inputs_(scratch.inputs) {
        const auto slices = static_cast<std::size_t>(pieces_of(x.columns, slice_depth));
        inputs_.resize(std::max(inputs_.size(), slices));
        const auto* elements = static_cast<const std::uint16_t*>(x.data);
        parallel_for(slices, threads, [&](std::size_t slice) {
            const auto begin = static_cast<std::int64_t>(slice) * slice_depth;
            inputs_[slice].assign(layout_,
                                  elements + begin,
                                  x.columns,
                                  x.rows,
                                  std::min(slice_depth, x.columns - begin));
        });
    }

    bool fits(const Bfloat16Panels& panels) const { return panels.layout() == layout_; }

    void pack(const CpuWeight& weight,
              const Piece& piece,
              std::vector<float>&,
              Bfloat16Panels& panels) const {
        const auto* elements = reinterpret_cast<const std::uint16_t*>(weight.stored().data());
        panels.assign_transposed(layout_,
                                 elements + piece.first * weight.columns + piece.begin,
                                 weight.columns,
                                 piece.count,
                                 piece.depth);
    }

    void multiply(std::int64_t row,
                  const Piece& piece,
                  const Bfloat16Panels& panels,
                  MutableMatrixView out) const {
        kvtape::multiply(inputs_[static_cast<std::size_t>(piece.begin / slice_depth)],
                         row,
                         panels,
                         piece.begin > 0,
                         out);
    }

  private:
    Bfloat16Layout layout_;
    std::vector<Bfloat16Rows>& inputs_;
};

template <typename Factors>
class Product {
  public:
    Product(ElementType type,
            Activations x,
            const CpuWeight& weight,
            std::span<const float> bias,
            Activations out,
            int threads,
            LinearScratch& scratch)
        : factors_(type, x, threads, scratch),
          type_(type),
          weight_(weight),
          bias_(bias),
          out_(out),
          threads_(threads),
          scratch_(scratch),
          blocks_(pieces_of(weight.rows, block_columns)),
          slices_(pieces_of(weight.columns, Factors::slice_depth)) {}

    void run(Keep keep) {
        if (keep == Keep::yes)
            keep_panels();
        std::int64_t height = most_rows;
        const auto groups = [&] { return pieces_of(out_.rows, height); };
        while (height > fewest_rows && threads_ > 1 &&
               blocks_ * groups() < items_per_thread * threads_)
            height /= 2;
        parallel_for(static_cast<std::size_t>(blocks_ * groups()), threads_, [&](std::size_t item) {
            const std::int64_t row = static_cast<std::int64_t>(item) / blocks_ * height;
            run_block(
                static_cast<std::int64_t>(item) % blocks_, row, std::min(height, out_.rows - row));
        });
    }

  private:
    using Panels = typename Factors::Panels;

    Piece piece(std::int64_t block, std::int64_t slice) const {
        const std::int64_t first = block * block_columns, begin = slice * Factors::slice_depth;
        return {.first = first,
                .count = std::min(block_columns, weight_.rows - first),
                .begin = begin,
                .depth = std::min(Factors::slice_depth, weight_.columns - begin)};
    }

    void keep_panels() {
        const auto count = static_cast<std::size_t>(blocks_ * slices_);
        auto* kept = std::get_if<std::vector<Panels>>(&weight_.kept());
        if (kept == nullptr || kept->size() != count || !factors_.fits(kept->front())) {
            kept = &weight_.kept().template emplace<std::vector<Panels>>(count);
            parallel_for(count, threads_, [&](std::size_t i) {
                const auto number = static_cast<std::int64_t>(i);
                std::vector<float> decoded;
                factors_.pack(
                    weight_, piece(number / slices_, number % slices_), decoded, (*kept)[i]);
            });
        }
        kept_ = kept->data();
    }

    void run_block(std::int64_t block, std::int64_t row, std::int64_t rows) {
        LinearScratch::Loan loan(scratch_);
        LinearScratch::Desk& desk = *loan;
        const std::int64_t columns = piece(block, 0).count;
        desk.sums.resize(
            std::max(desk.sums.size(), static_cast<std::size_t>(rows * block_columns)));
        MutableMatrixView sums = mutable_view(desk.sums.data(), rows, columns);
        for (std::int64_t slice = 0; slice < slices_; ++slice) {
            const Piece part = piece(block, slice);
            if (kept_ == nullptr)
                factors_.pack(weight_, part, desk.decoded, Factors::panels_of(desk));
            const Panels& panels =
                kept_ == nullptr ? Factors::panels_of(desk) : kept_[block * slices_ + slice];
            for (std::int64_t top = 0; top < rows; top += tile_rows)
                factors_.multiply(
                    row + top,
                    part,
                    panels,
                    mutable_view(
                        sums.data() + top * columns, std::min(tile_rows, rows - top), columns));
        }
        store(sums, row, block * block_columns);
    }

    /// Adds the bias and rounds once.
    void store(MutableMatrixView sums, std::int64_t row, std::int64_t column) const {
        if (!bias_.empty())
            sums.rowwise() +=
                Eigen::Map<const Eigen::RowVectorXf>(bias_.data() + column, sums.cols());
        const auto count = static_cast<std::size_t>(sums.cols());
        for (std::int64_t i = 0; i < sums.rows(); ++i) {
            void* to = element(type_, out_.data, (row + i) * out_.columns + column);
            encode(
                type_,
                {sums.data() + i * sums.cols(), count},
                {static_cast<std::byte*>(to), count * static_cast<std::size_t>(bytes_of(type_))});
        }
    }

    Factors factors_;
    ElementType type_;
    const CpuWeight& weight_;
    std::span<const float> bias_;
    Activations out_;
    int threads_;
    LinearScratch& scratch_;
    std::int64_t blocks_, slices_;
    const Panels* kept_ = nullptr;
};

}  // namespace

CpuWeight::CpuWeight(std::span<const std::byte> stored,
                     ElementType type,
                     std::int64_t weight_rows,
                     std::int64_t weight_columns)
    : stored_(stored),
      type_(type) {
    rows = weight_rows;
    columns = weight_columns;
    if (rows == 1) {
        vector_.resize(static_cast<std::size_t>(columns));
        read_row(0, vector_);
    }
}

void CpuWeight::read_row(std::int64_t row, std::span<float> out, std::int64_t first) const {
    const auto size = static_cast<std::size_t>(bytes_of(type_));
    decode(
        type_,
        stored_.subspan(static_cast<std::size_t>(row * columns + first) * size, out.size() * size),
        out);
}

LinearScratch::Loan::Loan(LinearScratch& owner) : owner_(owner) {
    {
        const std::lock_guard lock(owner_.mutex_);
        if (!owner_.free_.empty()) {
            desk_ = std::move(owner_.free_.back());
            owner_.free_.pop_back();
        }
    }
    if (desk_ == nullptr)
        desk_ = std::make_unique<Desk>();
}

LinearScratch::Loan::~Loan() {
    const std::lock_guard lock(owner_.mutex_);
    owner_.free_.push_back(std::move(desk_));
}

void linear(ElementType type,
            Activations x,
            const CpuWeight& weight,
            std::span<const float> bias,
            Activations out,
            Keep keep,
            int threads,
            LinearScratch& scratch) {
    if (type == ElementType::bfloat16 && weight.type() == ElementType::bfloat16)
        Product<Bfloat16Factors>(type, x, weight, bias, out, threads, scratch).run(keep);
    else
        Product<FloatFactors>(type, x, weight, bias, out, threads, scratch).run(keep);
}

}  // namespace kvtape::model::cpu
