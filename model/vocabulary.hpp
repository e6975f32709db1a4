#pragma once

#include "model/added_tokens.hpp"
#include "model/bpe.hpp"
#include "model/fields.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace kvtape::model {

/// The tokens of a tokenizer.json by id and by name.
class Vocabulary {
  public:
    /// What one id stands for.
    struct Entry {
        std::string bytes;  ///< as they stand in text
        bool known = false;
        bool special = false;
    };

    /// `model` is the file's `model`. Ids that contradict each other and names outside of the
    /// alphabet are format errors.
    Vocabulary(const Fields& model, const AddedTokens& added, Bpe::Alphabet alphabet);

    /// By id; there may be unknown ones in between.
    std::vector<Entry> entries;
    /// By name, those that are added tokens only left out.
    TokenIds names;

  private:
    Entry& slot(std::int32_t id, const Fields& model);
    void add_entry(const std::string& name,
                   std::int32_t id,
                   bool is_added,
                   Bpe::Alphabet alphabet,
                   const Fields& model);
    void add_token(const AddedToken& token, const Fields& model);

    std::size_t end_ = 0;
};

}  // namespace kvtape::model
