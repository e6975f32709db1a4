#pragma once

#include <map>
#include <string>
#include <string_view>

namespace kvtape::model {

/// The file that holds each tensor, by the tensor's name.
using ShardIndex = std::map<std::string, std::string, std::less<>>;

/// Reads a `model.safetensors.index.json`: its `weight_map` names a file for every tensor. Every
/// one is a plain file name, which stays in the checkpoint's directory. Anything else is a format
/// error that names `what`.
ShardIndex parse_shard_index(std::string_view text, const std::string& what);

}  // namespace kvtape::model
