#pragma once

#include "model/fields.hpp"
#include "model/vocabulary.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace kvtape::model {

/// The tokens that a model wants around a text.
struct Template {
    std::vector<std::int32_t> before, behind;
    bool given = false;  ///< the file says which, even if none
};

/// `TemplateProcessing` in the `post_processor` of a tokenizer.json. `ByteLevel` and `Sequence` are
/// known too, and put no tokens. (`ByteLevel` may trim white space off ranges; ours keep it.) Ids
/// that are not those of the vocabulary are a format error.
Template read_template(const Fields& root, std::span<const Vocabulary::Entry> entries);

}  // namespace kvtape::model
