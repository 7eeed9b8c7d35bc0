// Head configurations: notation, checks, and the table of models whose decode attention is worth naming.
#include "traces/head_config.h"

#include <fmt/core.h>

#include <array>
#include <cmath>

#include "core/error.h"
#include "core/text.h"

namespace espalier::traces {
namespace {

constexpr std::int32_t kMaxDim = 1024;
constexpr std::int32_t kMaxHeads = 4096;

struct DtypeRow {
  Dtype dtype;
  std::string_view name, alias;
};
constexpr std::array<DtypeRow, 4> kDtypes{{{Dtype::fp32, "fp32", "float32"},
                                           {Dtype::bf16, "bf16", "bfloat16"},
                                           {Dtype::fp16, "fp16", "float16"},
                                           {Dtype::fp8_e4m3, "fp8_e4m3", "fp8"}}};

const DtypeRow& row_of(Dtype dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.dtype == dtype) return row;
  }
  core::fail_check(__FILE__, __LINE__, "dtype is in the table", std::to_string(static_cast<int>(dtype)));
}

core::Error bad_heads(std::string_view text) {
  return core::usage_error(
      fmt::format("heads: expected query heads/KV heads/dim such as 32/8/128, 64/4/192+128 (K and V dims) or "
                  "128/1/576:512 (V inside "
                  "K), got '{}'",
                  text));
}

std::int32_t small_integer(std::string_view part, std::string_view text) {
  const auto value = core::parse_integer(part);
  if (!value || *value < 1 || *value > kMaxHeads) throw bad_heads(text);
  return static_cast<std::int32_t>(*value);
}

void check_range(std::int32_t value, std::int32_t high, std::string_view where, std::string_view what) {
  if (value < 1 || value > high) {
    throw core::bad_input(fmt::format("{}: {}", where, what), fmt::format("an integer from 1 to {}", high),
                          std::to_string(value));
  }
}

}  // namespace

std::string_view dtype_name(Dtype dtype) { return row_of(dtype).name; }

std::optional<Dtype> dtype_of(std::string_view name) {
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name || row.alias == name) return row.dtype;
  }
  return std::nullopt;
}

double HeadConfig::softmax_scale() const { return scale != 0.0 ? scale : 1.0 / std::sqrt(static_cast<double>(qk_dim)); }

void check_heads(const HeadConfig& heads, std::string_view where) {
  check_range(heads.q_heads, kMaxHeads, where, "q_heads");
  check_range(heads.kv_heads, kMaxHeads, where, "kv_heads");
  check_range(heads.qk_dim, kMaxDim, where, "qk_dim");
  check_range(heads.v_dim, kMaxDim, where, "v_dim");
  if (heads.q_heads % heads.kv_heads != 0) {
    throw core::bad_input(where, "query heads that KV heads divide",
                          fmt::format("{} query heads and {} KV heads", heads.q_heads, heads.kv_heads));
  }
  if (heads.v_in_k && heads.v_dim > heads.qk_dim) {
    throw core::bad_input(where, "a V that fits inside K",
                          fmt::format("V of {} inside K of {}", heads.v_dim, heads.qk_dim));
  }
  if (!std::isfinite(heads.scale) || heads.scale < 0.0) {
    throw core::bad_input(where, "a softmax scale >= 0", fmt::format("{}", heads.scale));
  }
}

HeadConfig parse_heads(std::string_view text) {
  const auto parts = core::split(text, '/');
  if (parts.size() != 3) throw bad_heads(text);
  HeadConfig heads;
  heads.q_heads = small_integer(parts[0], text);
  heads.kv_heads = small_integer(parts[1], text);
  const std::string_view dims = parts[2];
  const std::size_t mark = dims.find_first_of(":+");
  heads.qk_dim = small_integer(dims.substr(0, mark), text);
  heads.v_dim = mark == std::string_view::npos ? heads.qk_dim : small_integer(dims.substr(mark + 1), text);
  heads.v_in_k = mark != std::string_view::npos && dims[mark] == ':';
  try {
    check_heads(heads, fmt::format("heads '{}'", text));
  } catch (const core::Error& e) {
    throw core::usage_error(e.what());  // the same sentence, but the command line is what is wrong
  }
  return heads;
}

std::string heads_text(const HeadConfig& heads) {
  const std::string front = fmt::format("{}/{}/{}", heads.q_heads, heads.kv_heads, heads.qk_dim);
  if (heads.v_in_k) return fmt::format("{}:{}", front, heads.v_dim);
  return heads.v_dim == heads.qk_dim ? front : fmt::format("{}+{}", front, heads.v_dim);
}

const std::vector<Model>& models() {
  static constexpr std::string_view kRead = "published configuration";
  static constexpr std::string_view kRecalled = "from general knowledge, check before quoting";
  static const std::vector<Model> table{
      {"llama2-7b", 32, "32/32/128", kRead},
      {"codellama-7b", 32, "32/32/128", kRecalled},
      {"codellama-13b", 40, "40/40/128", kRecalled},
      {"codellama-34b", 48, "64/8/128", kRead},
      {"llama3-8b", 32, "32/8/128", "published configuration; 3.1 is the same"},
      {"llama3-70b", 80, "64/8/128", "published configuration; 3.1 and 3.3 are the same"},
      {"mistral-7b", 32, "32/8/128", kRecalled},
      {"mistral-nemo", 40, "32/8/128", kRead},
      {"mixtral-8x7b", 32, "32/8/128", kRead},
      {"qwen2.5-7b", 28, "28/4/128", kRead},
      {"qwen2.5-14b", 48, "40/8/128", kRead},
      {"qwen2.5-32b", 64, "40/8/128", kRead},
      {"qwen2.5-72b", 80, "64/8/128", kRead},
      {"qwen3-0.6b", 28, "16/8/128", kRead},
      {"qwen3-1.7b", 28, "16/8/128", kRead},
      {"qwen3-4b", 36, "32/8/128", kRead},
      {"qwen3-8b", 36, "32/8/128", kRead},
      {"qwen3-14b", 40, "40/8/128", kRead},
      {"qwen3-32b", 64, "64/8/128", kRead},
      {"qwen3-30b-a3b", 48, "32/4/128", kRead},
      {"qwen3-235b-a22b", 94, "64/4/128", kRead},
      {"qwen3.5-35b-a3b", 10, "16/2/256", "published configuration; hybrid, 10 of 40 layers are full attention"},
      {"qwen3.5-27b", 16, "24/4/256", "published configuration; hybrid, 16 of 64 layers are full attention"},
      {"qwen3.5-397b-a17b", 15, "32/2/256", "published configuration; hybrid, 15 of 60 layers are full attention"},
      {"minimax-m2", 62, "48/8/128", kRead},
      {"gpt-oss-20b", 12, "64/8/64", "12 of 24 layers are full attention, from general knowledge; sinks left out"},
      {"gpt-oss-120b", 18, "64/8/64", "18 of 36 layers are full attention, from general knowledge; sinks left out"},
      {"gemma2-9b", 21, "16/8/256", "21 of 42 layers are full attention, from general knowledge"},
      {"gemma2-27b", 23, "32/16/128", "23 of 46 layers are full attention, from general knowledge"},
      {"gemma3-27b", 10, "32/16/128", "10 of 62 layers are full attention, from general knowledge"},
      {"gemma4-31b", 10, "32/4/512", "published configuration; 10 of 60 layers are full attention"},
      {"mimo-v2.5", 9, "64/4/192+128", "published configuration; 9 of 48 layers are full attention"},
      {"deepseek-v3", 61, "128/1/576:512", "published configuration; latent attention, R1 is the same"},
      {"deepseek-v2-lite", 27, "16/1/576:512", "published configuration; latent attention"},
      {"kimi-k2", 61, "64/1/576:512", "published configuration; latent attention"},
  };
  return table;
}

const Model& model_of(std::string_view name) {
  std::vector<std::string> names;
  for (const Model& model : models()) {
    if (model.name == name) return model;
    names.emplace_back(model.name);
  }
  throw core::usage_error(core::unknown_name("model", name, names));
}

}  // namespace espalier::traces
