#include "model/config.hpp"

#include "model/fields.hpp"
#include "model/files.hpp"
#include "model/rope.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <system_error>

namespace kvtape::model {
namespace {

constexpr std::int64_t most_layers = 4096;
constexpr std::int64_t most_heads = 4096;
constexpr std::int64_t most_head_dim = 1024;
constexpr std::int64_t most_width = std::int64_t{1} << 20;
constexpr std::int64_t most_tokens = std::int64_t{1} << 24;
constexpr std::size_t most_config_bytes = std::size_t{1} << 24;

/// What an architecture fixes by its name alone. Everything else is a field of config.json.
struct Architecture {
    std::string_view name;
    bool qkv_bias = false;  ///< even without `attention_bias`
    bool qk_norm = false;
    bool late_windows = false;  ///< only on request, and from layer `max_window_layers` on
};
constexpr std::array known{
    Architecture{.name = "LlamaForCausalLM"},
    Architecture{.name = "MistralForCausalLM"},
    Architecture{.name = "Phi3ForCausalLM"},
    Architecture{.name = "Qwen2ForCausalLM", .qkv_bias = true, .late_windows = true},
    Architecture{.name = "Qwen3ForCausalLM", .qk_norm = true, .late_windows = true}};

std::string known_names() {
    std::string names;
    for (const Architecture& architecture : known)
        names += (names.empty() ? "" : ", ") + std::string(architecture.name);
    return names;
}

const Architecture& architecture_of(const Fields& root) {
    const Json* names = root.find("architectures");
    if (names == nullptr || !names->is_array() || names->size() != 1 || !names->front().is_string())
        root.refuse("architectures",
                    names == nullptr ? "is missing"
                                     : "is " + Fields::shown(*names) + ", expected one name");
    const auto found =
        std::find_if(known.begin(), known.end(), [&](const Architecture& architecture) {
            return architecture.name == names->front().get_ref<const std::string&>();
        });
    if (found == known.end())
        root.refuse("architectures",
                    "is " + Fields::shown(names->front()) +
                        ", which kvtape does not run; it runs " + known_names());
    return *found;
}

ElementType read_stored_type(const Fields& root) {
    const std::string name = root.text("dtype", root.text("torch_dtype", "float32"));
    for (const ElementType type :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16})
        if (name == name_of(type))
            return type;
    root.refuse("dtype",
                "is " + Fields::shown(Json(name)) + ", expected float32, float16 or bfloat16");
}

/// Adds `eos_token_id`, one or several, to those that end an answer.
void add_stop_tokens(const Fields& root, Config& config) {
    const Json* field = root.find("eos_token_id");
    if (field == nullptr)
        return;
    std::vector<std::int32_t>& tokens = config.stop_tokens;
    for (const Json& id : field->is_array() ? *field : Json::array({*field})) {
        const Json one{{"eos_token_id", id}};
        const auto token = static_cast<std::int32_t>(
            Fields(one, root.what()).integer("eos_token_id", 0, config.vocabulary - 1));
        if (std::find(tokens.begin(), tokens.end(), token) == tokens.end())
            tokens.push_back(token);
    }
}

void refuse_unknown_arithmetic(const Fields& root) {
    const std::string activation = root.text("hidden_act", "silu");
    if (activation != "silu")
        root.refuse("hidden_act",
                    "is " + Fields::shown(Json(activation)) +
                        ", which kvtape does not know; it "
                        "knows silu");
    if (root.find("quantization_config") != nullptr)
        root.refuse("quantization_config",
                    "is present, but kvtape reads float32, float16 and bfloat16 weights only");
}

std::vector<std::optional<Position>> windows(const Fields& root,
                                             const Architecture& architecture,
                                             std::int32_t layers) {
    std::optional<Position> window;
    if (root.find("sliding_window") != nullptr &&
        root.flag("use_sliding_window", !architecture.late_windows))
        window = static_cast<Position>(
            root.integer("sliding_window", 1, std::numeric_limits<Position>::max()));
    std::vector<std::optional<Position>> all(static_cast<std::size_t>(layers), window);
    const Json* types = root.find("layer_types");
    if (types == nullptr) {
        if (window && architecture.late_windows)
            std::fill_n(
                all.begin(),
                std::min<std::int64_t>(layers, root.integer("max_window_layers", 0, most_layers)),
                std::nullopt);
        return all;
    }
    if (!types->is_array() || types->size() != all.size())
        root.refuse("layer_types", "must name one type for each of the layers");
    for (std::size_t i = 0; i < all.size(); ++i) {
        if ((*types)[i] == "full_attention")
            all[i].reset();
        else if ((*types)[i] != "sliding_attention" || !window)
            root.refuse("layer_types",
                        "has " + Fields::shown((*types)[i]) +
                            ", expected full_attention, or sliding_attention with a "
                            "sliding_window");
    }
    return all;
}

void read_geometry(const Fields& root, Config& config) {
    const auto count = [&](const char* name, std::int64_t most) {
        return static_cast<std::int32_t>(root.integer(name, 1, most));
    };
    config.vocabulary = count("vocab_size", most_tokens);
    config.hidden_size = count("hidden_size", most_width);
    config.intermediate_size = count("intermediate_size", most_width);
    config.layers = count("num_hidden_layers", most_layers);
    config.query_heads = count("num_attention_heads", most_heads);
    config.kv_heads = static_cast<std::int32_t>(
        root.integer("num_key_value_heads", 1, most_heads, config.query_heads));
    if (config.query_heads % config.kv_heads != 0)
        root.refuse("num_key_value_heads",
                    "is " + std::to_string(config.kv_heads) + ", which does not divide " +
                        std::to_string(config.query_heads) + " attention heads");
    if (root.find("head_dim") == nullptr && config.hidden_size % config.query_heads != 0)
        root.refuse("hidden_size",
                    "is " + std::to_string(config.hidden_size) + ", not a multiple of " +
                        std::to_string(config.query_heads) + " attention heads; give head_dim");
    config.head_dim = static_cast<std::int32_t>(
        root.integer("head_dim", 2, most_head_dim, config.hidden_size / config.query_heads));
    if (config.head_dim < 2 || config.head_dim > most_head_dim || config.head_dim % 2 != 0)
        root.refuse("head_dim",
                    "is " + std::to_string(config.head_dim) +
                        ", expected an even number from 2 to " + std::to_string(most_head_dim));
    config.max_positions = static_cast<std::int32_t>(
        root.integer("max_position_embeddings", 1, std::numeric_limits<std::int32_t>::max(), 2048));
}

}  // namespace

Config Config::load(const std::filesystem::path& config_json) {
    Config config = parse(read_text(config_json, most_config_bytes), config_json.string());
    const std::filesystem::path generation = config_json.parent_path() / "generation_config.json";
    std::error_code absent;
    if (std::filesystem::exists(generation, absent))
        config.add_generation(read_text(generation, most_config_bytes), generation.string());
    return config;
}

void Config::add_generation(std::string_view json, std::string_view what) {
    const Json fields = parse_json(json, what);
    add_stop_tokens(Fields(fields, what), *this);
}

Config Config::parse(std::string_view json, std::string_view what) {
    const Json fields = parse_json(json, what);
    const Fields root(fields, what);
    const Architecture& architecture = architecture_of(root);
    refuse_unknown_arithmetic(root);
    Config config;
    config.architecture = architecture.name;
    config.text = json;
    read_geometry(root, config);
    config.norm_epsilon = static_cast<float>(root.positive("rms_norm_eps", 1.0, 1e-6));
    config.tied_embeddings = root.flag("tie_word_embeddings", false);
    config.output_bias = root.flag("attention_bias", false);
    config.qkv_bias = config.output_bias || architecture.qkv_bias;
    config.mlp_bias = root.flag("mlp_bias", false);
    config.qk_norm = architecture.qk_norm;
    config.stored_type = read_stored_type(root);
    add_stop_tokens(root, config);
    config.sliding_window = windows(root, architecture, config.layers);
    read_rope(fields, what, config);
    return config;
}

Shape Config::shape(ElementType type) const {
    return {.layers = layers,
            .query_heads = query_heads,
            .kv_heads = kv_heads,
            .head_dim = head_dim,
            .hidden_size = hidden_size,
            .softmax_scale = 1.0 / std::sqrt(static_cast<double>(head_dim)),
            .element_type = type};
}

}  // namespace kvtape::model
