#include "analyze/similarity.hpp"

#include "analyze/sparsity.hpp"
#include "analyze/token_set.hpp"
#include "core/philox.hpp"
#include "tests/analyze/vectors.hpp"
#include "tests/support/analysis_twins.hpp"
#include "tests/support/catch.hpp"

#include <Eigen/Eigenvalues>

#include <cmath>

using namespace kvtape;

namespace {

Matrix random_rows(std::uint64_t stream, Eigen::Index rows, Eigen::Index columns) {
    const Philox random(41, stream);
    Matrix made(rows, columns);
    for (Eigen::Index i = 0; i < made.size(); ++i)
        made.data()[i] =
            static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)) * 2.0 - 0.7);
    return made;
}

std::vector<char> random_flags(std::uint64_t stream, std::size_t tokens, double share) {
    const Philox random(42, stream);
    std::vector<char> made;
    for (std::size_t t = 0; t < tokens; ++t)
        made.push_back(random.uniform(t) < share ? 1 : 0);
    return made;
}

}  // namespace

TEST_CASE("similarities of heads agree with scipy and numpy", "[analyze][heads]") {
    for (const Json& known : scipy_vectors("redundancy")) {
        const std::size_t heads = known["kept"].size();
        const auto dim = known["dim"].get<Eigen::Index>();
        std::vector<TokenSet> sets;
        std::vector<std::vector<float>> rows;
        std::vector<MatrixView> views;
        for (std::size_t head = 0; head < heads; ++head) {
            sets.emplace_back(flags(known["kept"][head]));
            rows.push_back(known["rows"][head].get<std::vector<float>>());
        }
        for (const std::vector<float>& of_head : rows)
            views.push_back(view(of_head.data(), std::ssize(of_head) / dim, dim));
        Similarity kept(heads);
        for (std::size_t a = 0; a < heads; ++a)
            for (std::size_t b = a + 1; b < heads; ++b)
                kept.set(a, b, jaccard(sets[a], sets[b]));
        const Similarity cka = linear_cka(views, 2);
        for (std::size_t a = 0; a < heads; ++a)
            for (std::size_t b = 0; b < heads; ++b) {
                CHECK(kept.at(a, b) == Approx(known["jaccard"][a][b].get<double>()).margin(1e-12));
                CHECK(cka.at(a, b) == Approx(known["cka"][a][b].get<double>()).margin(1e-5));
            }
        CHECK(effective_heads(kept) ==
              Approx(known["effective_jaccard"].get<double>()).epsilon(1e-10));
        CHECK(effective_heads(cka) == Approx(known["effective_cka"].get<double>()).epsilon(1e-5));
    }
}

TEST_CASE("eigenvalues agree with another solver, and add up to the number of heads",
          "[analyze][heads]") {
    for (std::uint64_t stream = 0; stream < 200; ++stream) {
        const std::size_t heads = 1 + stream % 12;
        const Matrix rows = random_rows(stream, static_cast<Eigen::Index>(heads), 5);
        Similarity similarity(heads);
        Eigen::MatrixXd matrix = Eigen::MatrixXd::Identity(static_cast<Eigen::Index>(heads),
                                                           static_cast<Eigen::Index>(heads));
        for (std::size_t a = 0; a < heads; ++a)
            for (std::size_t b = a + 1; b < heads; ++b) {
                const auto left = rows.row(static_cast<Eigen::Index>(a)).cast<double>();
                const auto right = rows.row(static_cast<Eigen::Index>(b)).cast<double>();
                const double cosine = left.dot(right) / left.norm() / right.norm();
                similarity.set(a, b, cosine);
                matrix(static_cast<Eigen::Index>(a), static_cast<Eigen::Index>(b)) = cosine;
                matrix(static_cast<Eigen::Index>(b), static_cast<Eigen::Index>(a)) = cosine;
            }
        const std::vector<double> found = eigenvalues(similarity);
        const Eigen::VectorXd expected =
            Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(matrix).eigenvalues();
        double sum = 0.0;
        for (std::size_t i = 0; i < heads; ++i) {
            REQUIRE(found[i] == Approx(expected(static_cast<Eigen::Index>(i))).margin(1e-10));
            sum += found[i];
        }
        REQUIRE(sum == Approx(static_cast<double>(heads)).epsilon(1e-12));
    }
}

TEST_CASE("heads that are all alike count as one, heads that share nothing as many",
          "[analyze][heads]") {
    Similarity alike(4);
    const Similarity different(4);
    for (std::size_t a = 0; a < 4; ++a)
        for (std::size_t b = a + 1; b < 4; ++b)
            alike.set(a, b, 1.0);
    CHECK(effective_heads(alike) == Approx(1.0));
    CHECK(effective_heads(different) == Approx(4.0));
    CHECK(effective_heads(Similarity(1)) == Approx(1.0));
}

TEST_CASE("linear CKA is that of the definition in double, and does not see turns and scales",
          "[analyze][heads]") {
    for (std::uint64_t stream = 0; stream < 40; ++stream) {
        const Eigen::Index tokens = 5 + static_cast<Eigen::Index>(stream) * 3, dim = 6;
        const Matrix a = random_rows(2 * stream, tokens, dim);
        const Matrix b = random_rows(2 * stream + 1, tokens, dim) + 0.3f * a;
        Matrix turned(tokens, dim);
        for (Eigen::Index column = 0; column < dim; ++column)
            turned.col(column) = 2.5f * a.col((column + 2) % dim);
        const std::vector<MatrixView> heads = {view(a), view(b), view(turned)};
        const Similarity found = linear_cka(heads, 1);
        CHECK(found.at(0, 1) == Approx(reference::naive_cka(a, b)).margin(2e-6));
        CHECK(found.at(0, 2) == Approx(1.0).margin(1e-5));
    }
    const Matrix constant = Matrix::Constant(9, 3, 0.5f), varied = random_rows(1, 9, 3);
    const std::vector<MatrixView> heads = {view(constant), view(varied)};
    CHECK(linear_cka(heads, 1).at(0, 1) == 0.0);
}

TEST_CASE("mass95 is the share of the heaviest tokens that hold 95 percent", "[analyze][heads]") {
    const std::vector<double> even(40, 0.01), one = {0.0, 0.96, 0.02, 0.02}, none(4, 0.0);
    CHECK(mass95(even).value() == Approx(38.0 / 40.0).margin(1.0 / 40.0));
    CHECK(mass95(one).value() == 0.25);
    CHECK_FALSE(mass95(none).has_value());
    for (std::uint64_t stream = 0; stream < 100; ++stream) {
        const Philox random(43, stream);
        std::vector<double> mass;
        for (std::size_t t = 0; t < 30 + stream; ++t)
            mass.push_back(std::pow(random.uniform(t), 8.0));
        REQUIRE(mass95(mass).value() == Approx(reference::naive_mass95(mass)));
    }
}

TEST_CASE("mergeable tokens are those with a partner among the kept, as the definition says",
          "[analyze][heads]") {
    for (std::uint64_t stream = 0; stream < 60; ++stream) {
        const Eigen::Index tokens = 3 + static_cast<Eigen::Index>(stream) * 5, dim = 3;
        Matrix keys = random_rows(100 + stream, tokens, dim);
        const Matrix values = random_rows(200 + stream, tokens, dim);
        keys.row(1).setZero();
        const MergePartners partners(view(keys), view(values));
        for (const double share : {0.05, 0.5}) {
            const auto count = static_cast<std::size_t>(tokens) - stream % 3;
            const std::vector<char> kept = random_flags(stream, count, share);
            const auto found = partners.mergeable(TokenSet(kept), count);
            const auto expected = reference::naive_mergeable(keys, values, kept);
            REQUIRE(found.has_value() == expected.has_value());
            if (found)
                REQUIRE(*found == Approx(*expected).margin(1e-12));
        }
    }
    const Matrix same = Matrix::Constant(70, 2, 1.0f);
    const std::vector<char> all(70, 1);
    CHECK_FALSE(MergePartners(view(same), view(same)).mergeable(TokenSet(all), 70).has_value());
    std::vector<char> last(70, 0);
    last[69] = 1;
    CHECK(MergePartners(view(same), view(same)).mergeable(TokenSet(last), 70).value() == 1.0);
}
