#pragma once

namespace kvtape::model::cuda {

/// Makes GPU `device`, counted from 0, the one of this thread. Throws a device error where there is
/// none, or none that the kernels were built for.
void use_device(int device);

}  // namespace kvtape::model::cuda
