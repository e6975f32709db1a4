#pragma once

#include "trace/trace.hpp"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace kvtape {

/// What to do with a file whose writer did not finish.
enum class Unfinished {
    refuse,
    allow,  ///< read the sequences that are finished and pass over the others
};

/// Opens a trace file. Checks the root, and every type, shape and attribute of every sequence
/// against it, before any tensor is read; refuses a higher major version. Any thread may use the
/// trace. Tensors are read, verified and converted on `threads` threads. Errors are io errors or
/// format errors that name file, object, what was found and what was expected.
std::unique_ptr<Trace> open_trace(const std::filesystem::path& path,
                                  Unfinished unfinished = Unfinished::refuse,
                                  int threads = 1);

/// The same for a file that lies in memory. The bytes are copied.
std::unique_ptr<Trace> open_trace_image(std::span<const std::byte> image,
                                        Unfinished unfinished = Unfinished::refuse);

}  // namespace kvtape
