#pragma once

namespace kvtape {

/// e^x and ln x from basic arithmetic alone (no libm), so that the bits are the same for every C
/// library and instruction set. Correct to 2 units in the last place of a double over the whole
/// range; `exponential` is 0 below -745.2 and +inf above 709.8, `logarithm` takes x > 0.
/// NaN and the infinities behave as in IEEE 754.
double exponential(double x);
double logarithm(double x);

/// The sine and cosine of an angle of `turns` full turns, in [0, 1]: from basic arithmetic too,
/// each correct to 2^-51.
struct SineCosine {
    double sine = 0.0;
    double cosine = 1.0;
};
SineCosine sine_cosine(double turns);

}  // namespace kvtape
