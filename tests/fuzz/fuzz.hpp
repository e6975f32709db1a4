#pragma once

#include "core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string_view>

/// Gives `input` to `parse`, which may accept it or refuse it with a one-line usage, format or io
/// error. Every other outcome is a finding: it ends the program.
template <typename Parse>
int expect_clean_outcome(const std::uint8_t* data, std::size_t size, const Parse& parse) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    try {
        parse(input);
    } catch (const kvtape::Error& error) {
        const std::string_view message = error.what();
        const bool blamed_on_us = error.kind() == kvtape::ErrorKind::internal;
        if (blamed_on_us || message.empty() || message.find('\n') != std::string_view::npos) {
            std::cerr << "not a clean refusal: " << message << '\n';
            std::abort();
        }
    }
    return 0;
}
