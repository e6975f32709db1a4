#pragma once

#include <filesystem>

namespace kvtape {

/// The folder of the needle model that comes with the program: `data/needle-model` beside or above
/// the executable, else in the tree it was built from. A usage error when there is none.
std::filesystem::path needle_model_directory();

}  // namespace kvtape
