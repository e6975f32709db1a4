#include "core/error.hpp"
#include "model/backend.hpp"

namespace kvtape::model {

std::unique_ptr<Backend> cuda_backend(ElementType, int) {
    throw device_error("starting the cuda backend: " + cuda_unavailable() +
                       "; use the cpu backend, or configure with KVTAPE_CUDA=ON and build again");
}

std::string cuda_unavailable() {
    return "this kvtape was built without CUDA";
}

}  // namespace kvtape::model
